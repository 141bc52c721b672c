"""Evaluation against brute force, and against the mistakes that other implementations of the paper made with it."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from paperlib.data.augment import Augmenter
from paperlib.errors import PaperlibError
from paperlib.recipe import Recipe, Sizes
from paperlib.training import evaluate
from tests import tiny

PLAIN = Recipe.paper().but(**{"augment.colour": 0.0}).augment


def random_images(n: int, side: int = 8, seed: int = 0) -> Tensor:
    return tiny.images(n, side, seed=seed)


def augmenter(images: Tensor, size: int = 6) -> Augmenter:
    return Augmenter(PLAIN, Sizes(side=images.shape[-1], crop=size), images)


def small_net(inplace: bool = False, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(0)
    a1, a2 = (nn.ReLU(inplace=inplace) if act is nn.ReLU else act() for _ in range(2))
    d1, d2 = (nn.Dropout(0.5, inplace=inplace) for _ in range(2))
    layers = [("flatten", nn.Flatten()), ("fc6", nn.Linear(108, 16)), ("act6", a1), ("drop6", d1)]
    layers += [("fc7", nn.Linear(16, 12)), ("act7", a2), ("drop7", d2), ("fc8", nn.Linear(12, 5))]
    return nn.Sequential(OrderedDict(layers))


# ---------------------------------------------------------------------------------------------------------
# Probabilities


@pytest.mark.parametrize("batch_size", [1, 7, 20, 500])
@pytest.mark.parametrize("views", [1, 10])
def test_probabilities_are_those_of_a_loop(views, batch_size):
    """View by view and image by image, cut out by hand; batches of any size give the same."""
    images, size, side = random_images(23), 6, 8
    net, made = small_net().eval(), augmenter(random_images(23))
    far, middle = side - size, (side - size) // 2
    corners = [(0, 0), (0, far), (middle, middle), (far, 0), (far, far)] if views == 10 else [(middle, middle)]
    centred = images.double() - images.double().mean(0)
    for image, got in zip(centred, evaluate.predict(net, made, images, views, batch_size), strict=True):
        total = torch.zeros(5, dtype=torch.float64)
        for top, left in corners:
            view = image[:, top : top + size, left : left + size]
            for x in (view, view.flip(2)) if views == 10 else (view,):
                z = net(x.float()[None])[0].double().tolist()
                total += torch.tensor([math.exp(a) / sum(map(math.exp, z)) for a in z], dtype=torch.float64)
        assert torch.allclose(got.double(), total / views, atol=1e-6)


def test_views_are_averaged_as_probabilities_not_as_logits():
    """One view that is sure of class 0 against nine that prefer class 1: the mean logit says 0, the paper says 1."""

    class Corner(nn.Module):
        """Logit of class 0: 10 where the pixel at the top left is white, -0.9 where it is black; of class 1: 0."""

        def forward(self, x: Tensor) -> Tensor:
            z = x[:, 0, 0, 0] * (10.9 / 255) - 0.9
            return torch.stack([z, torch.zeros_like(z)], 1)

    black = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    image = black.clone()
    image[..., 0, 0] = 255
    made, net = augmenter(black), Corner()
    logits = net(made.test_views(image).flatten(0, 1))
    assert logits.mean(0).argmax() == 0  # what the mistake would answer
    got = evaluate.predict(net, made, image, views=10)
    assert got.argmax() == 1
    expected = (1 / (1 + math.exp(-10)) + 9 / (1 + math.exp(0.9))) / 10
    assert got[0, 0].item() == pytest.approx(expected, abs=1e-6)


def test_dropout_is_off_and_the_mode_is_given_back():
    images = random_images(40)
    net, made = small_net(), augmenter(images)
    assert net.training
    for views in (1, 10):
        assert torch.equal(evaluate.predict(net, made, images, views), evaluate.predict(net, made, images, views))
    assert torch.equal(evaluate.features(net, made, images), evaluate.features(net, made, images))
    assert net.training and all(m.training for m in net)
    net.eval()
    evaluate.predict(net, made, images)
    assert not net.training


def test_the_mode_is_given_back_after_an_error():
    net = small_net()
    with pytest.raises(RuntimeError):
        evaluate.predict(net, augmenter(random_images(4, 9), 7), random_images(4, 9))  # a net for other sizes
    assert net.training


def test_a_number_of_views_that_the_paper_has_not_is_refused():
    with pytest.raises(PaperlibError, match="not on 5"):
        evaluate.predict(small_net(), augmenter(random_images(4)), random_images(4), views=5)


# ---------------------------------------------------------------------------------------------------------
# Errors


def expected_error(scores: list[float], label: int, k: int) -> float:
    """The chance that the label is not among the k best where ties are ordered at random: over all orders of them."""
    misses, orders = 0, list(itertools.permutations(range(len(scores))))
    for order in orders:  # earlier in `order` wins a tie
        ranking = sorted(range(len(scores)), key=lambda c, order=order: (-scores[c], order.index(c)))
        misses += label not in ranking[:k]
    return 100 * misses / len(orders)


@given(st.lists(st.integers(0, 2), min_size=2, max_size=5), st.data())
def test_ties_share_credit_as_random_orders_do(values, data):
    label, k = data.draw(st.integers(0, len(values) - 1)), data.draw(st.integers(1, len(values)))
    got = evaluate.top_k_error(torch.tensor([values], dtype=torch.float32) / 4, torch.tensor([label]), k)
    assert got == pytest.approx(expected_error(list(map(float, values)), label, k), abs=1e-9)


def test_top_k_errors_by_hand():
    scores = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3], [1 / 3, 1 / 3, 1 / 3]])
    labels = torch.tensor([0, 1, 0, 2])
    # top-1: right, wrong, wrong, a third; top-2: right, right, half (two classes tied for the one place), two thirds
    assert evaluate.top_k_error(scores, labels, 1) == pytest.approx(100 * (0 + 1 + 1 + 2 / 3) / 4)
    assert evaluate.top_k_error(scores, labels, 2) == pytest.approx(100 * (0 + 0 + 1 / 2 + 1 / 3) / 4)
    assert evaluate.top_k_error(scores, labels, 3) == 0


def test_without_ties_it_is_the_error_of_topk():
    g = torch.Generator().manual_seed(3)
    scores, labels = torch.randn(1000, 20, generator=g), torch.randint(0, 20, (1000,), generator=g)
    for k in (1, 5):
        wrong = (scores.topk(k, 1).indices != labels[:, None]).all(1).double().mean().item()
        assert evaluate.top_k_error(scores, labels, k) == pytest.approx(100 * wrong)


def test_a_constant_net_has_the_error_of_guessing():
    """Also on a test set of one class, where the first or the last of equals would be all right or all wrong."""
    for label in (0, 7, 9):
        assert evaluate.top_k_error(torch.zeros(5, 10), torch.full((5,), label), 5) == pytest.approx(50)


def test_scores_that_are_not_numbers_are_no_right_answers():
    with pytest.raises(PaperlibError, match="diverged"):
        evaluate.top_k_error(torch.full((2, 3), torch.nan), torch.tensor([0, 1]), 1)
    for k in (0, 4):
        with pytest.raises(PaperlibError, match="number of classes, 3"):
            evaluate.top_k_error(torch.zeros(2, 3), torch.tensor([0, 1]), k)


def test_an_ensemble_is_the_mean_of_its_members():
    g = torch.Generator().manual_seed(0)
    members = [torch.rand(6, 4, generator=g).softmax(1) for _ in range(3)]
    arrays = [m.double().numpy() for m in members]
    assert np.allclose(evaluate.ensemble(members).numpy(), sum(arrays) / 3, atol=1e-7)
    assert torch.equal(evaluate.ensemble(members[:1]), members[0])


def test_members_must_fit_together():
    for members in ([], [torch.ones(2, 2), torch.ones(2, 3)]):
        with pytest.raises(PaperlibError, match="at least one net"):
            evaluate.ensemble(members)


# ---------------------------------------------------------------------------------------------------------
# Features


@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("inplace", [False, True])
def test_features_are_read_between_nonlinearity_and_dropout(act, inplace):
    images = random_images(30)
    net, made = small_net(inplace, act), augmenter(images)
    x = made.test_batch(images).flatten(1)
    with torch.no_grad():
        fc6 = act()(x @ net.fc6.weight.T + net.fc6.bias)
        fc7 = act()(fc6 @ net.fc7.weight.T + net.fc7.bias)
    for layer, expected in (("fc6", fc6), ("fc7", fc7), ("act7", fc7), ("flatten", x)):
        got = evaluate.features(net, made, images, layer, batch_size=7)
        assert torch.allclose(got, expected, atol=1e-4), layer
    assert torch.equal(evaluate.features(net, made, images), evaluate.features(net, made, images, "fc7"))


def test_reading_features_leaves_no_hook_behind():
    net, made = small_net(), augmenter(random_images(4))
    evaluate.features(net, made, random_images(4))
    with pytest.raises(PaperlibError, match="no nonlinearity follows 'fc8'"):
        evaluate.features(net, made, random_images(4), "fc8")
    assert not any(m._forward_hooks for m in net.modules())


def test_an_unknown_layer_is_named_with_those_there_are():
    for layer in ("fc9", ""):
        with pytest.raises(PaperlibError, match="its layers are fc6, fc7, fc8"):
            evaluate.features(small_net(), augmenter(random_images(4)), random_images(4), layer)


# ---------------------------------------------------------------------------------------------------------
# Neighbours


def sorted_by_distance(query: np.ndarray, bank: np.ndarray) -> list[tuple[float, int]]:
    return sorted((float(((query - b) ** 2).sum()), i) for i, b in enumerate(bank.astype(float)))


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 12), st.data())
def test_neighbours_are_those_of_a_loop(seed, queries, size, data):
    """Whole numbers, so that distances are exact and ties are many: of equals, the first of the bank."""
    g = torch.Generator().manual_seed(seed)
    query, bank = (torch.randint(0, 3, (n, 3), generator=g).float() for n in (queries, size))
    k = data.draw(st.integers(1, size))
    distances, indices = evaluate.neighbours(query, bank, k)
    for q, got_d, got_i in zip(query.numpy(), distances, indices, strict=True):
        expected = sorted_by_distance(q, bank.numpy())[:k]
        assert [i for _, i in expected] == got_i.tolist() and [d for d, _ in expected] == got_d.tolist()


def test_distances_are_not_normalised():
    """The bank's second row points the same way as the query; the first is nearer."""
    _, indices = evaluate.neighbours(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0], [9.0, 9.0]]), 1)
    assert indices.item() == 0


def test_distances_between_near_twins_far_from_zero_are_kept():
    """|q|² - 2qb + |b|² in single precision would lose a difference of 1 beside 4096 activities of 1000."""
    bank = torch.full((2, 4096), 1000.0)
    bank[1, 0] += 2
    query = torch.full((1, 4096), 1000.0)
    query[0, 0] += 2
    distances, indices = evaluate.neighbours(query, bank, 2)
    assert indices.tolist() == [[1, 0]] and distances.tolist() == [[0.0, 4.0]]


@pytest.mark.parametrize("room", [1, 100, 10**6])
def test_chunks_do_not_change_the_neighbours(monkeypatch, room):
    """Eleven queries one, two and all at a time."""
    monkeypatch.setattr(evaluate, "CHUNK", room)
    g = torch.Generator().manual_seed(0)
    query, bank = torch.randn(11, 5, generator=g), torch.randn(40, 5, generator=g)
    exact = torch.cdist(query.double(), bank.double(), compute_mode="donot_use_mm_for_euclid_dist") ** 2
    distances, indices = evaluate.neighbours(query, bank, 3)
    assert torch.allclose(distances, exact.sort(1).values[:, :3])
    assert torch.equal(indices, exact.argsort(1)[:, :3])
    ranks = evaluate.pixel_rank_of_feature_neighbours(indices, query, bank)
    assert ranks.tolist() == [[1, 2, 3]] * 11


def test_more_neighbours_than_candidates_are_refused():
    for k in (0, 4):
        with pytest.raises(PaperlibError, match="of 3 candidates"):
            evaluate.neighbours(torch.zeros(1, 2), torch.zeros(3, 2), k)


def test_label_agreement_by_hand():
    indices, bank, query = torch.tensor([[0, 1], [2, 3]]), torch.tensor([5, 6, 7, 7]), torch.tensor([5, 7])
    assert evaluate.label_agreement(indices, bank, query) == 75.0


def test_pixel_ranks_are_those_of_a_loop():
    query, bank = random_images(6, 4, seed=1), random_images(50, 4, seed=2)
    bank[7] = bank[30]  # equals
    indices = torch.randint(0, 50, (6, 3), generator=torch.Generator().manual_seed(0))
    indices[0] = torch.tensor([7, 30, 1])
    got = evaluate.pixel_rank_of_feature_neighbours(indices, query, bank)
    for q, row, ranks in zip(query.numpy().astype(float), indices.tolist(), got.tolist(), strict=True):
        distance = dict((i, d) for d, i in sorted_by_distance(q, bank.numpy()))
        assert ranks == [1 + sum(d < distance[i] for d in distance.values()) for i in row]
    assert got[0, 0] == got[0, 1]
