"""The figure of section 4: a small training set learnt by heart, with and without what is to prevent that."""

from __future__ import annotations

import matplotlib.pyplot as plt

from paperlib import evidence, experiments
from paperlib.style import PALETTE, SCALE_NAMES, Drawing, nothing_yet, use_style


def overfit() -> Drawing:
    """Errors of the finished nets on the images they were trained on and on others, a line a seed."""
    use_style()
    experiment = experiments.OVERFIT
    columns = ["arm", "seed", "fit_error", "test_error"]
    frame = evidence.results(experiment.name, experiment.scale, *columns[2:])[columns]
    if frame.empty:
        return nothing_yet(experiment.name, columns)
    arms = [arm for arm in experiment.arms if arm in set(frame["arm"])]
    figure, axes = plt.subplots(figsize=(7.6, 0.6 * len(arms) + 1.5))
    for y, arm in enumerate(arms):
        of_arm = frame[frame["arm"] == arm]
        ys = [y + 0.12 * (k - (len(of_arm) - 1) / 2) for k in range(len(of_arm))]
        axes.hlines(ys, of_arm["fit_error"], of_arm["test_error"], color="#bbbbbb", lw=1)
        marks = (("fit_error", "o", PALETTE[1], "training images"), ("test_error", "s", PALETTE[0], "test images"))
        for column, mark, colour, name in marks:
            axes.plot(of_arm[column], ys, mark, color=colour, ms=4.5, label=name if y == 0 else None)
    axes.set(xlabel="top-1 error of the finished net (%)", xlim=(-0.5, None), ylim=(len(arms) - 0.5, -0.5))
    axes.set_yticks(range(len(arms)), arms)
    axes.set_title(f"{experiment.stop.train_images} training images, {SCALE_NAMES[experiment.scale]}; a line a seed")
    axes.legend(loc="upper left")
    means = frame.groupby("arm", sort=False)[["fit_error", "test_error"]].mean()
    alt = "Mean errors on the training images and on the test images: " + "; ".join(
        f"{arm} {fit:.1f} and {test:.1f} %" for arm, fit, test in means.itertuples()
    )
    return Drawing(figure, frame.round(4), alt)
