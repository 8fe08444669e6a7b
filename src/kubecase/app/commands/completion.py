"""`kubecase completion`: shell completion."""

from typing import Literal

from kubecase.app.boundary import SUCCESS


def completion(shell: Literal["bash", "zsh", "fish"]) -> int:
    """Print the completion script of a shell.

    Like this:

        kubecase completion bash > ~/.local/share/bash-completion/completions/kubecase
        kubecase completion zsh > "${fpath[1]}/_kubecase"
        kubecase completion fish > ~/.config/fish/completions/kubecase.fish

    Parameters
    ----------
    shell
        bash, zsh or fish.
    """
    from kubecase.app.cli import build

    print(build().generate_completion(shell=shell))
    return SUCCESS
