"""What programs write when they are in trouble: kinds of trouble by the words that give them away.

Order decides: the first kind whose pattern is in a line names it. Every pattern is linear.
"""

import re

NOISE = re.compile(
    r"Traceback \(most recent call last\)|statsd|opentelemetry|otel|"
    r"export(?:ing)? (?:spans?|metrics|traces)|failed to export|exporter|telemetry|"
    r"\bjaeger\b|\bzipkin\b|pushgateway|errors?[=: ]+0\b|0 errors|no errors?\b|error rate 0|"
    r"attempting to acquire leader|successfully acquired lease|became leader|"
    r"leader election (?:won|started)|deprecat|failed=0|failures?[=: ]+0\b|"
    r"without errors?|error_?(?:count|total)[=: ]+0\b|sentry|newrelic|datadog|analytics|"
    r"update check",
    re.IGNORECASE,
)
"""Lines that only sound bad: exporters, counters at zero, elections."""

TROUBLE = re.compile(
    r"error|fail|fatal|panic|exception|refus|denied|time[d-]? ?out|deadline exceeded|"
    r"unable|cannot|can't|"
    r"could not|couldn't|not found|no such|not set|unset|missing|required|must be|"
    r"must not|invalid|unknown|"
    r"forbidden|unauthori|\b40[13]\b|\b50[0234]\b|expired|x509|certificate|too many|"
    r"exhausted|no space|"
    r"disk full|enospc|emfile|eaddrinuse|in use|out ?of ?memory|oom|segmentation|"
    r"sigsegv|sigabrt|core dumped|"
    r"double free|illegal instruction|bus error|deadlock|stuck|hung|hang|no progress|"
    r"stall|watchdog|blocked for|"
    r"read-only|readonly|not permitted|permission|usage:|unrecogni[sz]ed|unexpected|"
    r"syntax|traceback|caused by|"
    r"emerg|critical|noauth|wrongpass|nxdomain|unreachable|reset by peer|no route|"
    r"not writable|is empty|"
    r"unresolvable|resolution|doesn't contain|loop detected|fdatasync|"
    r"apply request took too long|slow|"
    r"limit (?:reached|exceeded)|remaining connection|undefined|not defined|corrupt|"
    r"killed|unhealthy|gc overhead|"
    r"getaddrinfo|not known|not match|abort|etcdserver|giving up|unavailable|deadline|"
    r"mismatch|full",
    re.IGNORECASE,
)
"""A line without any of these words is not looked at further."""

EXCEPTION = re.compile(
    r"^(?:panic:|Caused by: |fatal error: |thread '[^']{0,80}' panicked|Uncaught |Unhandled |"
    r"Exception in thread |PHP Fatal |Fatal error: |[A-Za-z_][\w.]{0,120}(?:Error|"
    r"Exception|Interrupt|Failure): ?|"
    r"[A-Za-z_][\w.]{0,120}(?:Error|Exception)$|Error: )|"
    r"UnhandledPromiseRejection|Unhandled exception|Cannot find module|Traceback|panicked at|"
    r"\b[a-z][\w.]{2,100}\.[A-Z]\w{2,60}(?:Error|Exception)\b|\b[A-Z]\w{2,60}(?:Error|Exception): "
)
"""A line that ends or names an unhandled error."""

_I = re.IGNORECASE


def _kind(name: str, pattern: str, flags: int = _I) -> tuple[str, re.Pattern[str]]:
    return name, re.compile(pattern, flags)


KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    _kind(
        "heap",
        r"java\.lang\.OutOfMemoryError: (?:Java heap|Metaspace|GC overhead|Compressed|"
        r"Requested array)|"
        r"JavaScript heap out of memory|Reached heap limit|GC overhead limit|heap space|"
        r"fatal error: runtime: out of memory|System\.OutOfMemoryException|"
        r"Allowed memory size of \d+ bytes",
    ),
    _kind(
        "process_limits",
        r"too many open files|EMFILE|unable to create (?:new )?native thread|"
        r"can't start new thread|"
        r"fork:? [^\n]{0,40}(?:Resource temporarily unavailable|Cannot allocate)|"
        r"(?:pthread_create|clone|fork)\b[^\n]{0,60}(?:Resource temporarily unavailable|"
        r"EAGAIN|failed)|"
        r"inotify[^\n]{0,80}(?:limit|no space|ENOSPC)|"
        r"ENOSPC: System limit for number of file watchers|"
        r"(?:/dev/shm|shared memory)[^\n]{0,80}No space left|No space left[^\n]{0,60}/dev/shm|"
        r"could not resize shared memory",
    ),
    _kind(
        "no_space",
        r"no space left on device|\bENOSPC\b|disk (?:is )?full|database or disk is full|"
        r"disk quota exceeded|"
        r"could not write [^\n]{0,60}WAL|not enough (?:disk )?space|"
        r"disk usage exceeded flood-stage|"
        r"insufficient (?:free )?disk space|volume [^\n]{0,40}is full",
    ),
    _kind(
        "port_in_use",
        r"address already in use|EADDRINUSE|port \d+ (?:is )?already (?:in use|allocated|bound)|"
        r"port (?:is )?already in use|bind\(\)[^\n]{0,60}failed \(98",
    ),
    _kind("exec_format", r"exec format error|cannot execute binary file"),
    _kind(
        "cert_expired",
        r"certificate has expired|certificate (?:is )?expired|not yet valid|"
        r"CertificateExpiredException|"
        r"CERT_HAS_EXPIRED|NotAfter: |sslv3 alert certificate expired|certificate expired",
    ),
    _kind(
        "cert_name",
        r"certificate is valid for (?P<held>[^\n]{1,200}?), not (?P<used>\S{1,200})|"
        r"doesn't contain any IP SANs|"
        r"Hostname/IP does(?: not|n't) match|hostname [^\n]{1,120} doesn't match|"
        r"No subject alternative|"
        r"ERR_TLS_CERT_ALTNAME_INVALID|no alternative certificate subject name matches|"
        r"hostname mismatch|"
        r"does not match (?:the )?(?:certificate|target host name)|No name matching",
    ),
    _kind(
        "cert_untrusted",
        r"signed by unknown authority|self[- ]signed certificate|"
        r"unable to verify the first certificate|"
        r"PKIX path building failed|unable to find valid certification path|UNABLE_TO_VERIFY_LEAF|"
        r"unable to get (?:local )?issuer certificate|certificate verify failed|unknown ca\b|"
        r"DEPTH_ZERO_SELF_SIGNED|SELF_SIGNED_CERT_IN_CHAIN|UnknownIssuer|"
        r"certificate is not trusted",
    ),
    _kind(
        "rbac",
        r"User \"(?P<user>system:serviceaccount:[^\"]{1,300})\" cannot (?P<verb>\w{1,30}) "
        r"resource \"(?P<resource>[^\"]{1,120})\" in API group \"(?P<group>[^\"]{0,120})\"|"
        r"User \"(?P<user2>system:[^\"]{1,300})\" cannot (?P<verb2>\w{1,30}) resource",
    ),
    _kind(
        "mesh",
        r"RBAC: access denied|rbac_access_denied|TLS error: Secret is not supplied|"
        r"TLS_error:|TLS error: [^\n]{0,80}CERTIFICATE_VERIFY_FAILED|filter_chain_not_found|"
        r"upstream connect error[^\n]{0,160}(?:TLS|connection termination|"
        r"reset reason: connection)",
    ),
    _kind(
        "etcd",
        r"etcdserver: (?:request timed out|leader changed|too many requests|"
        r"mvcc: database space exceeded)|"
        r"slow fdatasync|apply request took too long|failed to send out heartbeat on time|"
        r"context deadline exceeded[^\n]{0,60}:2379|:2379[^\n]{0,80}(?:refused|timeout|timed out)|"
        r"(?:lost|failed to (?:renew|update)) lease|:6443[^\n]{0,120}(?:refused|timeout|"
        r"timed out|EOF)|"
        r"(?:refused|timeout|timed out)[^\n]{0,60}:6443|the server has received too many requests|"
        r"leaderelection lost|leader election lost",
    ),
    _kind(
        "corefile",
        r"Corefile:\d+ - Error|plugin/loop: Loop|Loop \([^\n]{1,80}\) detected|"
        r"plugin/\w+: [^\n]{0,80}"
        r"(?:not configured|unknown)|Unknown directive [^\n]{0,60}Corefile",
    ),
    _kind(
        "dns_temporary",
        r"Temporary failure in name resolution|EAI_AGAIN|\[Errno -3\]|Try again\)?$|"
        r"lookup (?P<host>[\w.-]{1,200})(?: on [\d.:a-f\[\]]{1,60})?: (?:read udp [^\n]{"
        r"1,120}: )?(?:i/o timeout|"
        r"server misbehaving|connection refused|[^\n]{0,80}refused)|server misbehaving|SERVFAIL|"
        r"DNS (?:request|lookup|query) timed out|read udp [^\n]{1,120}:53: [^\n]{1,60}|"
        r"no servers could be reached|dns_unresolvable",
    ),
    _kind(
        "no_such_host",
        r"lookup (?P<host>[\w.-]{1,200})(?: on [^\n]{1,60})?: no such host|no such host|"
        r"NXDOMAIN|ENOTFOUND|"
        r"Name or service not known|nodename nor servname|UnknownHostException|"
        r"Unknown (?:MySQL server )?host|"
        r"could not translate host name|Could not resolve host|Name does not resolve|bad address|"
        r"host not found in upstream|getaddrinfo failed|\[Errno -2\]|name resolution failed|"
        r"unresolvable|cannot resolve host|failed to resolve host",
    ),
    _kind(
        "auth",
        r"password authentication failed|Access denied for user|\bNOAUTH\b|"
        r"\bWRONGPASS\b|AuthenticationFailed|"
        r"Authentication failed|authentication failure|SASL [^\n]{0,60}fail|"
        r"invalid (?:username|password|credentials?|"
        r"access ?key|api ?key|token|client secret)|InvalidAccessKeyId|"
        r"SignatureDoesNotMatch|ACCESS_REFUSED|"
        r"permission denied for (?:table|schema|database|relation|function|sequence)|"
        r"ORA-01017|login failed|"
        r"Login failed for user|invalid_client|invalid_grant|bad credentials|"
        r"\b401\b[^\n]{0,40}Unauthori[sz]ed|(?:status|code|returned|HTTP)[ =:]{0,3}40[13]\b|"
        r"not authorized to perform|AccessDenied|token (?:has )?expired|"
        r"HTTP/\d(?:\.\d)? 40[13]|\b403 Forbidden|"
        r"role \"[^\"]{1,80}\" does not exist|credentials? (?:were |was )?(?:rejected|refused)",
    ),
    _kind(
        "saturated",
        r"too many clients|remaining connection slots|too many connections|max_connections|"
        r"connection pool [^\n]{0,60}(?:exhaust|timeout|full)|pool (?:exhausted|timeout|"
        r"timed out|is full|limit)|"
        r"QueuePool limit|Connection is not available, request timed out|"
        r"timeout [^\n]{0,60}from pool|"
        r"Timeout waiting for (?:idle|connection from pool)|\b429\b|Too Many Requests|rate limit|"
        r"\bREADONLY\b You can't|OOM command not allowed|max number of clients reached|"
        r"ORA-00020|maximum number of (?:connections|processes|sessions)|ThrottlingException|"
        r"quota exceeded|ResourceExhausted|RESOURCE_EXHAUSTED|no more connections allowed",
    ),
    _kind(
        "readonly_fs",
        r"read-only file ?system|\bEROFS\b",
    ),
    _kind(
        "not_permitted",
        r"operation not permitted|\bEPERM\b|setuid[^\n]{0,60}fail|setgid[^\n]{0,60}fail|"
        r"chown[^\n]{0,120}(?:not permitted|denied)|must be run as root|can't be run as root|"
        r"bind\(\) to [^\n]{1,60}:\d{1,3} failed \(13|:\d{1,3}: bind: permission denied|"
        r"listen tcp [^\n]{0,40}:\d{1,3}: bind: permission denied|setgroups",
    ),
    _kind(
        "denied",
        r"permission denied|\bEACCES\b|AccessDeniedException: /|is not writable|not writable|"
        r"cannot create directory|cannot write to directory|has wrong ownership|"
        r"could not open [^\n]{1,160}denied",
    ),
    _kind(
        "missing_env",
        r"KeyError: ['\"](?P<name>[A-Z][A-Z0-9_]{2,60})['\"]|"
        r"(?:environment|env)(?:ironment)? (?:variable|"
        r"var)s? ['\"`$]?(?P<name2>[A-Za-z_][A-Za-z0-9_]{1,60})|"
        r"['\"`$]?(?P<name3>\b[A-Z][A-Z0-9]{0,30}_[A-Z0-9_]{1,40}\b)['\"`]? (?:environme"
        r"nt variable )?"
        r"(?:is |was |must be |has )?(?:not (?:been )?(?:set|defined|provided|specified|"
        r"configured|found)|unset|empty|"
        r"required|missing|undefined|set\b|mandatory)|"
        r"(?:missing|required|undefined|unset|empty|"
        r"expected)(?: required)?(?: configuration| config| setting| key|"
        r" parameter| value)?(?: for)?:? ['\"`$]?(?P<name4>\b[A-Z][A-Z0-9]{0,30}_[A-Z0-9"
        r"_]{1,40}\b)|"
        r"Could not resolve placeholder '(?P<name5>[^']{1,80})'|"
        r"panic: missing (?P<name6>[A-Z][A-Z0-9_]{2,60})|"
        r"(?P<name7>\b[A-Z][A-Z0-9_]{2,60}): (?:parameter not set|unbound variable|"
        r"parameter null or not set)",
        0,
    ),
    _kind(
        "missing_env",
        r"environment variables? [^\n]{0,80}(?:not set|missing|required|empty|undefined)|"
        r"(?:not set|missing|required|undefined)[^\n]{0,30}environment variable",
    ),
    _kind(
        "bad_command",
        r"unknown (?:flag|option|command|argument|shorthand)|unrecogni[sz]ed (?:option|"
        r"argument|flag|command)|"
        r"flag provided but not defined|invalid option|illegal option|no such option|"
        r"unexpected argument|"
        r"^usage: |syntax error: unexpected|syntax error near|: not found$|command not found|"
        r"exec: \"?[^\n]{1,200}(?:executable file not found|no such file or directory|"
        r"permission denied)|"
        r"can't open file|can't open '[^']{1,200}'|unknown subcommand|Unable to access jarfile|"
        r"Could not find or load main class|unexpected end of file|Unexpected keyword|"
        r"error: the following arguments are required|required flag",
    ),
    _kind(
        "invalid_value",
        r"\[emerg\]|yaml: (?:line|unmarshal|did not|mapping)|yaml\.(?:scanner|parser)|"
        r"unknown directive|"
        r"invalid (?:value|configuration|config|port|duration|number of arguments|"
        r"boolean|log ?level|url|syntax for|format)|"
        r"failed to parse|(?:can ?not|could not|unable to|error|"
        r"failed)(?: while)? (?:to )?(?:pars|load|read|decod|unmarshal|valid)\w* "
        r"[^\n]{0,60}(?:config|setting|propert|\.ya?ml|\.json|\.toml|\.conf|\.ini|\.xml|"
        r"\.properties)|"
        r"(?:config|configuration|settings?)\b[^\n]{0,60}(?:invalid|malformed|"
        r"parse error|syntax error|not valid|"
        r"validation|unknown (?:key|field|option|setting))|"
        r"parse error|(?:TOML|INI|XML|JSON) ?(?:parse|pars|decod|syntax)\w* ?err|"
        r"json: (?:cannot|unknown)|"
        r"invalid character '[^\n]{1,10}' |unexpected token [^\n]{0,40} in JSON|"
        r"Bind(?:Validation)?Exception: [^\n]{0,40}propert|"
        r"Failed to bind properties|unknown (?:key|field|setting|configuration)|"
        r"fatal configuration|"
        r"\.(?:ya?ml|json|toml|conf|ini|cfg|properties|xml):\d{1,6}|invalid config|bad config|"
        r"strconv\.\w{1,20}: parsing|time: (?:invalid|unknown|missing) (?:duration|"
        r"unit)|unsupported [^\n]{0,40}(?:level|mode|version|value)",
    ),
    _kind(
        "unresponsive",
        r"Found one Java-level deadlock|deadlock detected in|\bwatchdog\b|"
        r"no progress (?:for|since)|"
        r"(?:thread|worker|loop|consumer|process|task)s? [^\n]{0,60}(?:stuck|hung|"
        r"stalled|blocked for|not responding)|"
        r"all (?:workers|threads|goroutines)[^\n]{0,40}(?:busy|blocked|stuck|asleep)|"
        r"event loop [^\n]{0,40}(?:blocked|lag)|soft lockup|stalled for|Full GC|"
        r"GC pause[^\n]{0,40}\d{4,}ms|"
        r"possible deadlock|deadlocked|thread pool exhausted",
    ),
    _kind(
        "native",
        r"segmentation fault|core dumped|double free|free\(\): invalid|"
        r"illegal instruction|bus error|"
        r"\*\*\* stack smashing|malloc\(\): |corrupted (?:size|double-linked)|std::bad_alloc|"
        r"terminate called after|SIGSEGV \(0x|"
        r"# A fatal error has been detected by the Java Runtime",
    ),
    _kind(
        "timeout",
        r"i/o timeout|context deadline exceeded|ETIMEDOUT|ESOCKETTIMEDOUT|"
        r"Read timed out|connect(?:ion)? timed out|"
        r"connect timeout|Connection timeout|timed? ?out (?:while |after |waiting |"
        r"connecting |reading )|"
        r"TimeoutError|TimeoutException|ReadTimeout|ConnectTimeout|504 Gateway|\b504\b|"
        r"upstream (?:request )?timed out|"
        r"deadline exceeded|Client\.Timeout|operation timed out|request timed out|"
        r"ORA-12170|timed out|"
        r"no route to host|host (?:is )?unreachable|EHOSTUNREACH|DEADLINE_EXCEEDED|"
        r"did not (?:answer|respond)",
    ),
    _kind(
        "refused",
        r"connection refused|ECONNREFUSED|ORA-12541|\b503\b|Service Unavailable|"
        r"connection reset|ECONNRESET|"
        r"reset by peer|no healthy upstream|broken pipe|Can't connect to (?:MySQL|"
        r"local)|could not connect to (?:server|"
        r"database|broker)|Connection to [^\n]{1,120} refused|failed to connect to|"
        r"cannot connect to|unable to connect|"
        r"No brokers available|NoBrokersAvailable|LEADER_NOT_AVAILABLE|all hosts tried|"
        r"no nodes? available|"
        r"no available server|502 Bad Gateway|\b502\b|ServiceUnavailable|UNAVAILABLE:|"
        r"connect: connection|"
        r"server (?:closed|terminated) the connection|ConnectionError|NoHostAvailable|"
        r"no live upstreams",
    ),
)
