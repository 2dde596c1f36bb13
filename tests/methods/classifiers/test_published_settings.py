"""Remarks on hyper-parameters that are other than the published, or were never published."""

from fsbench.methods.classifiers.published_settings import tuning_notes
from fsbench.runner.config.registry import config_files


def test_remarks_on_hyper_parameters():
    """None for the authors' own commands, which the configurations are."""
    from types import SimpleNamespace as Plain

    import yaml

    def said(name, dataset, shot=1, **other):
        options = {"tuning": "head", "head": "default" if name == "lp" else "metaoptnet", "temperature": 1.0}
        options |= {"optimiser": "sgd"} if name == "lp" else {}
        for path in config_files(name, dataset):
            if path.parent.name in ("methods", "backbones"):
                options |= yaml.safe_load(path.read_text())["model"]["init_args"]
        options |= other
        schedule = Plain(**{key: options.get(key, 0) for key in ("learning_rate", "alpha", "tau")})
        schedule.optimiser, schedule.temperature = options["optimiser"], options["temperature"]
        method = Plain(
            schedule=schedule, backbone=Plain(**options["backbone"]), tuning=options["tuning"],
            epochs=options["epochs"], patches=options.get("patches"), head_kind=options["head"],
            gradient_weight=options.get("gradient_weight"), prompt_draw=options.get("prompt_draw"),
        )  # fmt: skip
        return tuning_notes(method, Plain(test=Plain(shot=shot), dataset=Plain(name=dataset)))

    vit, swin = ("ft", "lora", "ssf", "fort", "fort_lora", "fort_ssf"), ("ft_swin", "fort_swin", "fort_ssf_swin")
    assert not any(said(name, "cub") for name in (*vit, *swin, "vpt", "lp"))
    assert not said("lora", "cub", head="default", temperature=1.0)
    changes = {"optimiser": "sgd"}, {"temperature": 1.0}, {"head": "protonet"}, {"head": "default"}, {"epochs": 9}
    assert all("differ from the published" in said("lora", "cub", **change)[0] for change in changes)
    assert "differ from the published" in said("vpt", "cub", prompt_draw="episode")[0]
    assert "differ from the published" in said("fort", "cub", gradient_weight=0.5)[0]
    assert "differ from the published" in said("lp", "cub", epochs=21)[0]
    assert "none are published" in said("lp", "cub", shot=5)[0] and "none are published" in said("lp", "cars")[0]
    assert not any(said(name, "pets") for name in vit)
    for unknown in (said("fort", "cub", shot=5), said("ft", "cars"), said("fort_swin", "pets"), said("vpt", "pets")):
        assert "none are published" in unknown[0]
