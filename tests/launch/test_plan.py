"""What is chosen for a folder of photos, by its rule."""

import json
from pathlib import Path

import pytest

from mmbeitv2.datasets.survey import Photo, Survey
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.plan import Given, Machine, Plan, Wishes
from mmbeitv2.launch.plan_configs import Data, own_tokenizer, pretraining_config, tokenizer_config
from mmbeitv2.launch.plan_rules import check_photos, make_plan, number_held_out, with_lengths

CPU = Machine('cpu', 1, 2, 'bfloat16', 'a processor')
GPUS = Machine('cuda', 8, 64, 'bfloat16', 'a card')
SECONDS = dict(tokenizer=0.1, pretraining=0.2)


def found(count, side=300, looks=None):
    return Survey(
        Path('photos'), [Photo(f'{i}.jpg', side, 'RGB', i % (looks or count)) for i in range(count)]
    )


def planned(count, machine=CPU, side=300, hours=None, **wishes):
    held_out = number_held_out(count)
    plan = make_plan(
        found(count, side), count - held_out, held_out, machine, Wishes(**wishes), Given()
    )
    return with_lengths(plan, SECONDS, hours)


@pytest.mark.parametrize(
    ('count', 'machine', 'size', 'image_size', 'codes'),
    [
        (300, CPU, 'tiny', 96, 32),
        (9600, CPU, 'tiny', 96, 1024),
        (9600, GPUS, 'small', 224, 8192),
        (100_000, GPUS, 'base', 224, 8192),
    ],
)
def test_sizes_follow_photos_and_machine(count, machine, size, image_size, codes):
    plan = planned(count, machine)
    assert (plan.size, plan.image_size, plan.num_codes) == (size, image_size, codes)


def test_no_image_is_larger_than_half_of_the_photos():
    assert planned(1000, GPUS, side=150).image_size == 144
    assert planned(1000, GPUS, side=20).image_size == 64


def test_an_epoch_has_ten_steps_or_more():
    for count in (120, 300, 5000):
        plan = planned(count, GPUS)
        assert min(plan.tokenizer.steps_an_epoch, plan.pretraining.steps_an_epoch) >= 10


def test_hours_are_used_and_not_exceeded():
    plan = planned(2000, hours=0.5)
    assert 22 < plan.minutes < 31
    assert plan.pretraining.minutes > 2 * plan.tokenizer.minutes


def test_too_few_hours_name_how_many_are_needed():
    with pytest.raises(ValueError, match=r'--hours is 0\.01.*needed: 0\.0\d+ or more'):
        planned(2000, hours=0.01)


@pytest.mark.parametrize(
    ('wish', 'message'),
    [
        (dict(size='giant'), "--size is 'giant', allowed: tiny, small, base, large"),
        (dict(image_size=100), '--image-size is 100, allowed: a multiple of 16'),
        (dict(num_codes=1), '--codes is 1, allowed: 2 or more'),
    ],
)
def test_a_wish_that_cannot_be_granted_is_one_line(wish, message):
    with pytest.raises(ValueError, match=message):
        planned(2000, **wish)


def test_photos_that_teach_nothing_are_refused():
    check_photos(found(100))
    with pytest.raises(ValueError, match='has 3 photos, needed: 100 or more'):
        check_photos(found(3))
    with pytest.raises(ValueError, match='500 photos, of which only 1 look different'):
        check_photos(found(500, looks=1))
    half = found(200)
    half.unreadable = {f'{i}.png': 'OSError: cut' for i in range(200)}
    with pytest.raises(ValueError, match=r'200 of 400 files .* cannot be read, allowed: 10%'):
        check_photos(half)
    half.unreadable = dict(list(half.unreadable.items())[:2])
    check_photos(half)


def test_a_plan_is_kept_as_it_is():
    plan = planned(2000)
    assert Plan.from_json(json.loads(json.dumps(plan.as_json()))) == plan


@pytest.mark.parametrize('size', ['tiny', 'small', 'base', 'large'])
def test_its_configs_are_ordinary_ones_whose_parts_fit(tmp_path, size):
    plan = planned(2000, size=size)
    data = Data(tmp_path, tmp_path / 'train.txt', tmp_path / 'held_out.txt')
    target = own_tokenizer(plan, 'tokenizer')
    teacher = dict(type='mmbeitv2.TimmTeacher', model='test_vit')
    texts = dict(
        tokenizer=tokenizer_config(plan, data, teacher, seed=3),
        pretraining=pretraining_config(plan, data, target, seed=3),
    )
    configs = {}
    for name, text in texts.items():
        path = tmp_path / f'{name}.py'
        path.write_text(text)
        configs[name] = load_config(str(path))
    encoder = dict(configs['tokenizer'].model.encoder)
    used = dict(configs['pretraining'].model.target_generator.encoder)
    assert {key: encoder[key] for key in used} == used
    assert configs['tokenizer'].model.teacher == teacher
    assert configs['pretraining'].model.neck.layer < plan_depth(configs['pretraining'])
    for cfg, stage in zip(configs.values(), (plan.tokenizer, plan.pretraining)):
        assert cfg.randomness.seed == 3
        assert cfg.param_scheduler[-1].end == stage.steps
        assert cfg.train_cfg.max_epochs == stage.epochs


def plan_depth(cfg):
    arch = cfg.model.backbone.arch
    return dict(base=12, large=24)[arch] if isinstance(arch, str) else arch.depth
