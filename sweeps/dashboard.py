"""What to look at in W&B, as a workspace and a report of a project, beside the curves that were published.

    python sweeps/dashboard.py ENTITY/codec [--set kodak]

Both are made of what runs log without hand work; giving the command again makes another workspace and another report, and
leaves the published curves, which are runs of job type `published`, as they are.
"""

import argparse
import hashlib
import os
from collections.abc import Sequence

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces.expr import And, Config, Metric

from codec.metrics.published import published

MODELS = ("factorized", "hyperprior", "mean_scale", "hific", "wacnn", "segpic")  # as conf/model names them
LPIPS = "lpips_alex"  # as the loss of conf/loss/perceptual.yaml is called in a log


def _against_rate(dataset: str, quantity: str, title: str) -> wr.ScatterPlot:
    """A point a run: a figure of its test set over the bits per pixel of the files."""
    return wr.ScatterPlot(
        title=f"{title}, {dataset}",
        x=wr.SummaryMetric(f"test/{dataset}/file_bpp"),
        y=wr.SummaryMetric(f"test/{dataset}/{quantity}"),
        legend_template="${run:displayName}",  # experiment/name
    )


def _over_steps(title: str, *names: str) -> wr.LinePlot:
    return wr.LinePlot(title=title, x="step", y=list(names))


def _rate_distortion(dataset: str) -> list:
    quantities = {"psnr": "PSNR in dB", "ms_ssim_db": "MS-SSIM in dB", "lpips": "LPIPS"}
    plots = [_against_rate(dataset, quantity, title) for quantity, title in quantities.items()]
    return [*plots, wr.MediaBrowser(title="each run beside the classical codecs", media_keys=[f"test/{dataset}/rd"])]


def _rate() -> list:
    return [
        _over_steps("rate of the batches and its target", "train/quantized_bpp", "train/target_bpp"),
        _over_steps("weight of the rate, as the target switches it", "train/rate_weight"),
        _over_steps("rate in training and validation", "train/bpp", "val/bpp"),
        _over_steps("side information", "train/bpp_z"),
    ]


def _losses(lpips: str) -> list:
    return [
        _over_steps("loss", "train/loss", "val/loss"),
        _over_steps("distortion", "train/distortion"),
        _over_steps("PSNR", "train/psnr", "val/psnr"),
        _over_steps("LPIPS", f"train/{lpips}", f"val/{lpips}"),
        _over_steps("auxiliary loss", "train/aux"),
    ]


def _discriminator() -> list:
    return [
        _over_steps("logits", "train/real_logits", "train/fake_logits"),
        _over_steps("accuracy", "train/real_accuracy", "train/fake_accuracy"),
        _over_steps("losses", "train/discriminator_loss", "train/generator_loss"),
        _over_steps("gradient", "train/discriminator_grad_norm"),
    ]


def _health() -> list:
    return [
        _over_steps("skipped steps", "train/skipped_steps"),
        _over_steps("images/s", "train/images_per_second"),
        _over_steps("gradient", "train/grad_norm"),
        _over_steps("learning rate", "train/lr"),
    ]


def _pictures(dataset: str) -> list:
    places = [f"picture_{number}" for number in range(3)]
    return [
        wr.MediaBrowser(title="validation", media_keys=[f"val/{place}" for place in places]),
        wr.MediaBrowser(title=f"{dataset}, by files", media_keys=[f"test/{dataset}/{place}" for place in places]),
        wr.WeavePanelSummaryTable(table_name=f"test/{dataset}/pictures"),
    ]


def panels(dataset: str, lpips: str = LPIPS) -> dict[str, list]:
    """The panels by section; dataset: the test set; lpips: what LPIPS is called in the logs."""
    return {
        "rate and distortion": _rate_distortion(dataset),
        "rate and target": _rate(),
        "losses": _losses(lpips),
        "discriminator": _discriminator(),
        "health": _health(),
        "pictures": _pictures(dataset),
    }


def workspace(entity: str, project: str, dataset: str, lpips: str = LPIPS) -> ws.Workspace:
    """The workspace of a project: all runs, and what was published.

    dataset, lpips: as of `panels`.
    """
    sections = [ws.Section(name=name, panels=found, is_open=True) for name, found in panels(dataset, lpips).items()]
    return ws.Workspace(entity=entity, project=project, name=f"codecs on {dataset}", sections=sections)


def report(entity: str | None, project: str | None, dataset: str, lpips: str = LPIPS) -> wr.Report:
    """The same as a report, its runs in a set for each model, which has a colour of its own, and one for what was published.

    entity, project: None to look at it without a network. dataset, lpips: as of `panels`.
    """
    where = {} if entity is None else {"entity": entity, "project": project}
    trained = Metric("JobType") == "train"
    # `value` is where W&B keeps a configuration's node.
    runs = [wr.Runset(name=model, filters=And(Config("model.value.name") == model, trained), **where) for model in MODELS]
    published = wr.Runset(name="published", filters=And(Metric("JobType") == "published"), **where)
    blocks: list = [wr.P("Every rate is the size of files that were written and decoded.")]
    for name, found in panels(dataset, lpips).items():
        beside = [published] if name == "rate and distortion" else []
        blocks += [wr.H2(name), wr.PanelGrid(runsets=[*runs, *beside], panels=found)]
    return wr.Report(project=project or "codec", entity=entity or "", title=f"Codecs on {dataset}", blocks=blocks)


def upload_published(entity: str | None, project: str, dataset: str) -> int:
    """Make a run of job type `published` of each published point on the set, or find it again; how many there are."""
    count = 0
    for name, entry in published(dataset).items():
        for point in entry.points:
            of_point = hashlib.sha256(f"{dataset} {name} {point['bpp']}".encode()).hexdigest()[:12]
            with wandb.init(
                entity=entity, project=project, id=f"published-{of_point}", resume="allow",
                name=f"{name}, {point['bpp']:.3f} bpp", group=name, job_type="published", tags=["published", dataset],
                config={"model": {"name": name}, "source": entry.source},
            ) as run:  # fmt: skip
                named = {"file_bpp" if quantity == "bpp" else quantity: value for quantity, value in point.items()}
                run.summary.update({f"test/{dataset}/{quantity}": value for quantity, value in named.items()})
            count += 1
    return count


def main(words: Sequence[str] | None = None) -> None:
    """Upload what was published, and make the workspace and the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("project", help="ENTITY/PROJECT")
    parser.add_argument("--set", dest="dataset", default="kodak", help="the test set (default: kodak)")
    asked = parser.parse_args(words)
    entity, _, project = asked.project.partition("/")
    if not project:
        parser.error(f"{asked.project}; expected ENTITY/PROJECT, as in the address of the project's page")
    os.environ.setdefault("WANDB_SILENT", "true")
    print(f"{upload_published(entity, project, asked.dataset)} published points on {asked.dataset}")
    print(f"workspace {workspace(entity, project, asked.dataset).save().url}")
    made = report(entity, project, asked.dataset)
    made.save()
    print(f"report    {made.url}")


if __name__ == "__main__":
    main()
