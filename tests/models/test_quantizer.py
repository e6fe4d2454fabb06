"""Eq. 1 and the moving average: what the quantizer returns, learns, and never does."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mmbeitv2.errors import InputError
from mmbeitv2.models import NormEMAQuantizer, quantizer
from mmbeitv2.models.quantizer import nearest_codes, perplexity, spherical_kmeans


def make_quantizer(**kwargs):
    return NormEMAQuantizer(**{**dict(num_codes=16, code_dim=4, kmeans_init=False), **kwargs})


def unit(*shape):
    return F.normalize(torch.randn(*shape), dim=-1)


def state_of(module):
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def assert_same_state(module, before):
    assert all(torch.equal(before[name], buffer) for name, buffer in module.named_buffers())


@pytest.fixture
def z():
    return torch.randn(2, 4, 3, 5)


def test_contract(z):
    z_q, codes, loss = make_quantizer()(z)
    assert z_q.shape == z.shape
    assert z_q.dtype == torch.float32
    assert codes.shape == (2, 3, 5)
    assert codes.dtype == torch.int64
    assert 0 <= codes.min() <= codes.max() < 16
    assert loss.shape == ()
    assert_close(z_q.norm(dim=1), torch.ones(2, 3, 5))


def test_defaults_are_the_papers():
    module = NormEMAQuantizer()
    assert (module.num_codes, module.code_dim) == (8192, 32)
    assert (module.decay, module.beta) == (0.99, 1.0)
    assert not module.initted
    assert module.revive_below is None


def test_code_is_the_one_of_largest_cosine_whatever_the_length(z):
    module = make_quantizer().eval()
    z_q, codes, _ = module(z)
    rows = z.permute(0, 2, 3, 1).reshape(-1, 4)
    cosine = F.cosine_similarity(rows[:, None], module.codebook[None], dim=-1)
    assert torch.equal(codes.flatten(), cosine.argmax(dim=1))
    assert_close(z_q.permute(0, 2, 3, 1).reshape(-1, 4), module.codebook[codes.flatten()])
    assert torch.equal(module(1000 * z)[1], codes)


def test_commitment_loss(z):
    module = make_quantizer(beta=0.25).eval()
    z_q, _, loss = module(z)
    assert_close(loss, 0.25 * (z_q - F.normalize(z, dim=1)).square().mean())


def test_gradient_passes_straight_through(z):
    module = make_quantizer()
    weight = torch.randn_like(z)
    z.requires_grad_()
    z_q, _, _ = module(z)
    (z_q * weight).sum().backward()
    reference = z.detach().clone().requires_grad_()
    (F.normalize(reference, dim=1) * weight).sum().backward()
    assert_close(z.grad, reference.grad)


def test_commitment_gradient_pulls_towards_the_code(z):
    module = make_quantizer()
    module.eval()
    z.requires_grad_()
    _, _, loss = module(z)
    loss.backward()
    with torch.no_grad():
        moved = z - 20 * z.grad
    assert module(moved)[2] < loss
    assert not list(module.parameters())


def refuse(*args, **kwargs):
    raise AssertionError('a collective was called')


def test_eval_changes_no_state_and_communicates_nothing(z, monkeypatch):
    module = make_quantizer(revive_below=10.0).eval()
    for name in ('all_reduce', 'all_gather', 'broadcast'):
        monkeypatch.setattr(quantizer, name, refuse)
    before = state_of(module)
    for _ in range(3):
        module(z)
    assert_same_state(module, before)


def test_moving_average_of_directions():
    module = make_quantizer(num_codes=2, code_dim=2, decay=0.9)
    module.embedding.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    angles = torch.tensor([0.1, 0.3])
    z = torch.stack([angles.cos(), angles.sin()]).view(1, 2, 1, 2)
    _, codes, _ = module(z)
    assert codes.flatten().tolist() == [0, 0]
    # The mean direction of the two vectors is 0.2 rad.
    mean = torch.tensor([0.2, 0.2])[:1]
    expected = F.normalize(
        0.9 * torch.tensor([1.0, 0.0]) + 0.1 * torch.cat([mean.cos(), mean.sin()]), dim=0
    )
    assert_close(module.codebook[0], expected)
    assert torch.equal(module.codebook[1], torch.tensor([0.0, 1.0]))
    assert_close(module.embedding.cluster_size, torch.tensor([1.1, 0.9]))
    assert module.code_counts.tolist() == [2, 0]


def test_codes_converge_to_their_vectors():
    module = make_quantizer(num_codes=4, decay=0.5)
    centres = module.codebook.clone()
    target = F.normalize(centres + 0.2 * torch.randn_like(centres), dim=1)
    z = target.t().reshape(1, 4, 1, 4)
    for _ in range(40):
        _, codes, loss = module(z)
    assert codes.flatten().tolist() == [0, 1, 2, 3]
    assert_close(module.codebook, target, atol=1e-4, rtol=0)
    assert loss < 1e-6


def test_lookup_in_chunks_equals_the_whole(monkeypatch):
    z, codebook = unit(103, 8), unit(37, 8)
    whole = (z @ codebook.T).argmax(dim=1)
    assert torch.equal(nearest_codes(z, codebook), whole)
    for limit in (1, 37 * 10, 37 * 103):
        monkeypatch.setattr(quantizer, 'CHUNK_CPU', limit)
        assert torch.equal(nearest_codes(z, codebook), whole)


def test_float32_under_autocast(z):
    module, reference = make_quantizer(), make_quantizer()
    reference.load_state_dict(module.state_dict())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        z_q, codes, loss = module(z.bfloat16())
    expected = reference(z.bfloat16().float())
    assert z_q.dtype == loss.dtype == torch.float32
    assert torch.equal(codes, expected[1])
    assert torch.equal(z_q, expected[0])
    assert torch.equal(module.codebook, reference.codebook)


def test_first_training_step_sets_the_codebook_by_kmeans():
    module = make_quantizer(kmeans_init=True, decay=0.99)
    directions = unit(16, 4)
    z = F.normalize(directions.repeat(20, 1) + 0.01 * torch.randn(320, 4), dim=1)
    assert not module.initted
    _, _, loss = module(z.t().reshape(1, 4, 20, 16))
    assert module.initted
    assert module.embedding.initted.item() == 1
    assert_close(module.codebook.norm(dim=1), torch.ones(16))
    random_codebook = make_quantizer()
    assert loss < random_codebook(z.t().reshape(1, 4, 20, 16))[2] / 2


def test_kmeans_centres_are_the_mean_directions_of_their_vectors():
    z = unit(200, 3)
    centres, counts = spherical_kmeans(z, 5, iterations=100)
    codes = nearest_codes(z, centres)
    for code in range(5):
        members = z[codes == code]
        assert len(members) == counts[code]
        assert_close(centres[code], F.normalize(members.sum(dim=0), dim=0), atol=1e-5, rtol=0)


def test_kmeans_with_as_many_codes_as_vectors_keeps_the_vectors():
    z = unit(6, 3)
    centres, counts = spherical_kmeans(z, 6)
    assert counts.tolist() == [1] * 6
    assert_close(centres[nearest_codes(z, centres)], z)


def test_kmeans_without_assignments_is_refused():
    with pytest.raises(InputError, match='iterations is 0, allowed: 1 or more'):
        spherical_kmeans(unit(6, 3), 2, iterations=0)


def test_revival_resets_code_and_moving_average():
    z = torch.rand(2, 4, 3, 5)
    module = make_quantizer(revive_below=0.5, decay=0.5)
    vectors = F.normalize(z, dim=1).permute(0, 2, 3, 1).reshape(-1, 4)
    module.embedding.cluster_size.fill_(100.0)
    module.embedding.cluster_size[[3, 7]] = 0.0
    reference = make_quantizer(decay=0.5)
    reference.load_state_dict(module.state_dict())
    for quant in (module, reference):
        quant.embedding.weight[[3, 7]] = torch.full((4,), -0.5)  # opposite to every vector
    _, codes, _ = module(z)
    reference(z)
    assert not torch.isin(codes, torch.tensor([3, 7])).any()
    for code in (3, 7):
        assert (vectors == module.codebook[code]).all(dim=1).any()
        assert module.embedding.cluster_size[code] == 1
    alive = [code for code in range(16) if code not in (3, 7)]
    assert torch.equal(module.codebook[alive], reference.codebook[alive])
    assert torch.equal(
        module.embedding.cluster_size[alive], reference.embedding.cluster_size[alive]
    )


def test_perplexity_counts_evenly_used_codes():
    assert perplexity(torch.tensor([5.0, 5.0, 5.0, 0.0])).item() == pytest.approx(3)
    assert perplexity(torch.tensor([9.0, 0.0])).item() == pytest.approx(1)
    assert perplexity(torch.zeros(4)).isfinite()


def test_state_dict_has_the_official_names():
    assert set(make_quantizer().state_dict()) == {
        'embedding.weight',
        'embedding.cluster_size',
        'embedding.initted',
    }


def test_loaded_codebook_is_set(z):
    trained, fresh = make_quantizer(kmeans_init=True), make_quantizer(kmeans_init=True)
    trained(torch.randn(4, 4, 3, 5))
    fresh.load_state_dict(trained.state_dict())
    assert fresh.initted
    assert torch.equal(fresh.eval()(z)[1], trained.eval()(z)[1])


def test_fewer_vectors_than_codes_is_refused(z):
    module = make_quantizer(num_codes=31, kmeans_init=True)
    with pytest.raises(ValueError, match=r'num_codes is 31, available are 30.*CodebookInitHook'):
        module(z)
    assert not module.initted


def test_empty_codebook_in_eval_is_refused(z):
    with pytest.raises(ValueError, match='the codebook is empty: load a trained tokenizer'):
        make_quantizer(kmeans_init=True).eval()(z)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(num_codes=1), 'num_codes is 1, allowed: 2 or more'),
        (dict(decay=1.0), 'decay is 1.0, allowed: 0 ≤ decay < 1'),
        (dict(decay=-0.1), 'decay is -0.1, but must be a number of at least 0'),
    ],
)
def test_wrong_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_quantizer(**kwargs)


@pytest.mark.parametrize('num_codes', [7, 96, 8192])
def test_lookup_finds_the_first_of_the_largest_similarities(num_codes):
    # Whole numbers, whose products are exact, so that equal codes are equally near.
    codebook, z = (torch.randint(-3, 4, (n, 16)).float() for n in (num_codes, 300))
    half = (num_codes + 1) // 2
    codebook[half:] = codebook[: num_codes - half].clone()
    codes = nearest_codes(z, codebook)
    assert torch.equal(codes, (z @ codebook.t()).argmax(dim=1))
    assert codes.max() < half


@pytest.mark.parametrize('shape', [(30,), (2, 3, 5)])
def test_codes_are_counted_like_bincount(shape):
    codes = torch.randint(9, shape)
    counts = quantizer.count_codes(codes, 12)
    assert torch.equal(counts, torch.bincount(codes.flatten(), minlength=12).float())
