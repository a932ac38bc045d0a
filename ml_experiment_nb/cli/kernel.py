"""``ml-experiment kernel``: kernels that are forked."""

from __future__ import annotations

import click


@click.group()
def kernel() -> None:
    """Jupyter kernels that are forked in place of started."""


@kernel.command("install")
@click.option("--name", default="ml-experiment", show_default=True, help="The kernelspec's name.")
@click.option("--display-name", default="Python (forked)", show_default=True, help="Its name in the launcher.")
@click.option("--preload", default="", metavar="MODULES", help="Modules to have imported, as in sklearn,torch.")
@click.option("--prefix", type=click.Path(file_okay=False), help="An environment to install into; this one by default.")
@click.option("--user", is_flag=True, help="Install for the user, in place of an environment.")
def install(name: str, display_name: str, preload: str, prefix: str | None, user: bool) -> None:
    """Install a kernel that papermill, nbclient, JupyterLab and the rest start in a fraction of the time."""
    from ml_experiment_nb.work.kernels import install_kernel

    modules = [module.strip() for module in preload.split(",") if module.strip()]
    where = install_kernel(name, display_name=display_name, preload=modules, prefix=prefix, user=user)
    click.echo(f"installed {name} in {where}")
