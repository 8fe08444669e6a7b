"""How a kubectl command line is read: its verb, its flags in every form, its types and names."""

import pytest

from kubecase.core.kubectl import KubectlCall, Refused, parse, parse_line
from kubecase.core.kubectl_flags import BY_LETTER, BY_NAME, FLAGS, NEVER, flags_of


class Known:
    """A cluster of pods, deployments and services, which would also tell a Secret."""

    TYPES = frozenset({
        "pod", "pods", "po", "deploy", "deployment", "deployments", "deployments.apps",
        "deployments.v1.apps", "svc", "services", "secret", "secrets", "secrets.v1.",
    })  # fmt: skip

    def knows(self, word: str) -> bool:
        return word in self.TYPES


KNOWN = Known()


def allowed(line: str) -> KubectlCall:
    found = parse_line(line, KNOWN)
    assert isinstance(found, KubectlCall), found
    return found


def refused(line: str) -> str:
    found = parse_line(line, KNOWN)
    assert isinstance(found, Refused), found
    return found.says


@pytest.mark.parametrize(
    "line",
    [
        "get pods --namespace=shop -o wide", "get pods --namespace shop --output wide",
        "get -n shop pods -owide", "get -nshop -o=wide pods", "-n=shop get pods --output=wide",
        "-n shop -o wide get pods", "--output wide -nshop get pods",
        "get -n shop -o wide -- pods", "'get' \"pods\" -n sh'o'p -o \\wide",
    ],
)  # fmt: skip
def test_every_form_of_a_flag_is_the_same_command(line: str) -> None:
    """However its flags are written, and wherever they stand, a command is read as kubectl does."""
    call = allowed(line)

    assert (call.verb, call.resources) == ("get", ("pods",))
    assert call.argv[0] == "get"
    assert sorted(call.argv[1:-1]) == ["--namespace=shop", "--output=wide"]
    assert call.argv[-1] == "pods"


def test_letters_may_be_joined() -> None:
    """Switches of one letter may share a dash, and the last may have its value behind it."""
    assert allowed("logs api-0 -pcapp --tail 5").argv == (
        "logs", "--previous=true", "--container=app", "--tail=5", "api-0",
    )  # fmt: skip
    assert allowed("get pods -A=false").argv == ("get", "--all-namespaces=false", "pods")


@pytest.mark.parametrize("verb", list(FLAGS))
def test_a_flag_means_the_same_with_every_verb(verb: str) -> None:
    """A flag that stands before the verb cannot be read in two ways (req 13.8)."""
    for flag in flags_of(verb):
        assert BY_NAME[flag.name].takes_value == flag.takes_value
        if flag.short is not None:
            assert BY_LETTER[flag.short].name == flag.name


def shown(name: str) -> str:
    return f"--{name}" if len(name) > 1 else f"-{name}"


@pytest.mark.parametrize("name", sorted(NEVER))
@pytest.mark.parametrize("form", ["get pods {}", "get {}=x pods", "get {} x pods", "-A get {}"])
def test_a_flag_that_is_never_used_is_refused_by_its_name(name: str, form: str) -> None:
    """Credentials, files, streams and raw paths are refused in every place (req 13.5, 13.8)."""
    says = refused(form.format(shown(name)))

    assert f"The flag {shown(name)} is not allowed: " in says


@pytest.mark.parametrize("name", sorted({*NEVER} - {*BY_NAME} - {*BY_LETTER}))
@pytest.mark.parametrize("verb", ["get", "delete", "no-such-verb"])
def test_such_a_flag_is_refused_before_the_verb_is_looked_at(name: str, verb: str) -> None:
    """A flag in front is told apart from the verb, so that nothing hides behind it (req 13.8)."""
    for form in ("{} x {} pods", "{}=x {} pods"):
        assert f"The flag {shown(name)} is not allowed: " in refused(form.format(shown(name), verb))


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("--context x delete pod api-0", "--context"), ("-s https://example.com get pods", "-s"),
        ("--kubeconfig=/tmp/x get pods", "--kubeconfig"), ("rollout --as admin status x", "--as"),
        ("get pods --as-anything=x", "--as-anything"), ("get pods --no-such-flag", "--no-such"),
        ("get pods -Aw", "-w"), ("logs -pf api-0", "-f"), ("get pods -fAx", "-f"),
        ("get pods -o go-template-file=/x", "go-template-file"), ("get pods --all_namespaces", "_"),
        ("get pods -n", "-n"), ("get pods -n ../secrets", "--namespace"),
        ("get pods --namespace=shop/pods", "--namespace"), ("logs api-0 -c ../x", "--container"),
        ("logs api-0 --since-time=yesterday", "--since-time"), ("logs api-0 --tail=x", "--tail"),
        ("logs api-0 --limit-bytes=1k", "--limit-bytes"), ("logs api-0 --since=x", "--since"),
        ("wait pod/x --for=condition", "--for"), ("wait pod/x --for=exec=sh", "--for"),
        ("wait pod/x --for=delete --timeout=61s", "--timeout"),
        ("get pods --template=x", "--template"), ("get pods --subresource=log", "--subresource"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_flag(line: str, names: str) -> None:
    """An agent is told which flag was wrong, so that it can do without (req 13.5)."""
    assert names in refused(line)


@pytest.mark.parametrize(
    "line",
    [
        "get secrets", "get Secret", "get SECRETS/db", "get pods,secret", "get secret,pods",
        "get secrets.v1.", "get secret/db pod/api-0", "get -- secrets", "describe secret db",
        "events --for secret/db", "events --for=Secrets.v1./db", "logs secret/db",
        "wait --for=delete secret/db", "rollout history secret db",
    ],
)  # fmt: skip
def test_no_form_of_a_secret_is_read(line: str) -> None:
    """Secrets are refused though the list of types would know them (req 13.8)."""
    assert "Secrets are not readable" in refused(line)


@pytest.mark.parametrize(
    "line",
    [
        "get pod api/0/x", "get pod ../x", "get pod -- -x", "get pod/..", "get pod/", "get /x",
        "get pods pod/api-0", "get pod 'a b'", "get pod a?b", "get pods,", "logs -- -f",
        "get pod \u0430pi", "get p\u043eds", "get pods \u200b", "g\u0435t pods",
        "top pods -- --raw",
        f"get pod {'x' * 254}", f"get pod {'x' * 4097}", "get pods" + " x" * 100,
    ],
)  # fmt: skip
def test_a_name_is_only_a_name(line: str) -> None:
    """Slashes, dashes in front, look-alike letters and endless words are no names (req 13.8)."""
    assert refused(line)


@pytest.mark.parametrize("word", ["a\nb", "a\x00b", "a\x1bb", "a\u202eb", "\ud800"])
def test_no_word_holds_what_cannot_be_seen(word: str) -> None:
    """What could forge a line of a log or reach behind a string's end is refused in any place."""
    for words in (["get", "pods", word], ["get", "pods", f"-l={word}"], [word]):
        assert isinstance(parse(words, KNOWN), Refused)


@pytest.mark.parametrize(
    "line",
    ["get pods | jq .", "get pods; id", "get pods && id", "get pods > x", "get pods < x", "x `id`",
     "get pods $(id)", "get pods -n $NS", 'get pods "$(id)"', "get pods\nget svc", "get pods &",
     "get pods -f - <<EOF"],
)  # fmt: skip
def test_a_shell_is_neither_there_nor_needed(line: str) -> None:
    """Who writes for a shell is told that there is none, and what does its work (req 13.8)."""
    says = refused(line)

    assert "no shell" in says
    assert all(word in says for word in ("filter", "head", "tail", "jsonpath"))


def test_what_a_shell_would_not_touch_is_plain_text() -> None:
    """Inside quotes, the characters of a shell are part of the value."""
    call = allowed("get pods -l 'a in (b,c)' -o jsonpath='{.items[?(@.a>1)].b}|$x;`'")

    assert "--selector=a in (b,c)" in call.argv
    assert "--output=jsonpath={.items[?(@.a>1)].b}|$x;`" in call.argv


@pytest.mark.parametrize("verb", ["delete", "DELETE", "ge", "exec", "foo", "config", "GET", "--"])
def test_a_verb_that_does_not_read_is_refused_in_words(verb: str) -> None:
    """An agent hears which verbs there are, and that a change belongs into the report."""
    says = refused(f"{verb} pods")

    assert f"kubectl {verb}`" in says
    assert "recommendation" in says


@pytest.mark.parametrize(
    "line", ["rollout restart deploy/x", "auth reconcile", "top secrets", "top", "rollout"]
)
def test_a_second_word_is_on_the_list_too(line: str) -> None:
    """A verb of two words is refused with those that may be used (req 13.8)."""
    assert "Allowed are" in refused(line)


def test_events_may_be_asked_for_one_object() -> None:
    """The type that events are asked for is one of those that are read, and is told."""
    assert allowed("events --for deploy/api -n shop").resources == ("deploy",)
    assert "widget" in refused("events --for widget/api")


def test_whoever_asks_what_is_allowed_may_ask_about_anything() -> None:
    """A question about rights, and documentation, tell no Secret and change nothing."""
    assert allowed("auth can-i get secrets -n shop").resources == ()
    assert allowed("auth can-i '*' '*' -A").verb == "auth can-i"
    assert allowed("explain secret.data").argv == ("explain", "secret.data")
