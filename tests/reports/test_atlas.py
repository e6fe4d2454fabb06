"""The codebook atlas: a page from disk that shows every code, whatever the photos are called."""

import json
import re

import pytest
import torch
from PIL import Image

from mmbeitv2.apis import survey_codebook
from mmbeitv2.errors import InputError
from mmbeitv2.evaluation.code_census import CodeCensus
from mmbeitv2.evaluation.codebook_survey import CodebookSurvey
from mmbeitv2.models import VQKDTokenizer
from mmbeitv2.reports.atlas import write_atlas
from mmbeitv2.reports.sprites import PHOTO_SIDES, photo_side

# What a page would run or end at, if it took a name for HTML.
EVIL = ('<img src=x onerror=alert(1)>.png', '<!-- <script>.png', "';alert(1)&quot;.png")
# Its slash parts two folders; a photo's name in the page has it whole.
EVIL_CLASS = '</script><script>alert(2)<'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Ten photos of coloured squares in two classes, three of them with names that are HTML."""
    root = tmp_path_factory.mktemp('photos')
    generator = torch.Generator().manual_seed(0)
    names = [f'{i}.png' for i in range(5)] + [*EVIL, '8.png', '9.png']
    for number, name in enumerate(names):
        squares = torch.randint(256, (4, 4, 3), generator=generator, dtype=torch.uint8)
        photo = Image.fromarray(squares.numpy()).resize((80, 80), Image.Resampling.NEAREST)
        path = root / ('plain' if number % 2 else EVIL_CLASS) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        photo.save(path)
    return root


@pytest.fixture(scope='module')
def survey(folder):
    torch.manual_seed(0)
    encoder = dict(img_size=64, patch_size=16, embed_dim=64, depth=1, num_heads=1)
    quantizer = dict(num_codes=40, code_dim=4, kmeans_init=False)
    return survey_codebook(VQKDTokenizer(encoder, quantizer), folder, 'folders')


@pytest.fixture(scope='module')
def file(survey, tmp_path_factory):
    path = tmp_path_factory.mktemp('page') / 'deep' / 'atlas.html'
    return write_atlas(survey, path, 'a <b>tokenizer</b>')


def page_data(file):
    found = re.search(r'<script type="application/json" id="data">(.*)</script>', file.read_text())
    return json.loads(found[1])


class TestFile:
    def test_data_say_what_was_counted(self, file, survey):
        data = page_data(file)
        assert data['patches'] == sum(data['codes']['patches']) == 10 * 16
        assert data['total'] == 40
        assert data['used'] == int(survey.used.sum()) < 40
        assert sorted(data['photos']['names'])[-1].startswith('plain/')
        assert {len(row) > 0 for row, n in zip(data['codes']['exemplars'], data['codes']['patches'])
                if n} == {True}  # fmt: skip

    def test_names_end_no_element(self, file):
        text = file.read_text()
        for part in ('<img', 'alert(2)<', '<b>tokenizer'):
            assert part not in text
        assert text.count('<!--') == 0
        # Those of the page itself: sheets, data, program.
        assert text.count('</script>') == text.count('<script type="text/plain"') + 2

    def test_it_names_no_address_but_those_within(self, file):
        assert re.findall(r'(?:https?:|//)\w[\w.-]+\.\w+', file.read_text()) == []

    def test_photos_are_as_large_as_the_budget_allows(self, survey):
        sides = [photo_side(survey, budget) for budget in (0, 60_000, 10**9)]
        assert sides == sorted(sides)
        assert sides[0] == min(PHOTO_SIDES)
        # 80 pixels of a file are not shown in 320.
        assert 80 <= sides[-1] < 120

    def test_what_does_not_fit_is_refused_in_a_line(self, tmp_path):
        survey = many_codes(tmp_path, 1200)
        with pytest.raises(InputError, match='1200 codes do not fit 1 megabytes: allow more'):
            write_atlas(survey, tmp_path / 'page.html', 'large', megabytes=1)
        with pytest.raises(InputError, match='megabytes is 0, allowed: 1 to 500'):
            write_atlas(survey, tmp_path / 'page.html', 'large', megabytes=0)


def many_codes(folder, total):
    """A survey of one photo of noise whose patches have random codes."""
    generator = torch.Generator().manual_seed(0)
    side = int(total**0.5) + 1
    noise = torch.randint(256, (side * 16, side * 16, 3), generator=generator, dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save(folder / 'noise.png')
    codes = torch.arange(side**2).clamp(max=total - 1).view(1, side, side)
    census = CodeCensus(total, keep=1)
    census.add(codes, torch.ones(codes.shape), torch.zeros(1, 3, side, side))
    codebook = torch.nn.functional.normalize(torch.randn(total, 8, generator=generator), dim=-1)
    exemplars = [[(0, code)] for code in range(total)]
    return CodebookSurvey(
        *(codebook, census, (side, side), side * 16, [folder / 'noise.png'], ['noise.png'], [None]),
        *(codes, exemplars, []),
    )


def shown_code(page):
    return int(page.text_content('#detail h2').removeprefix('Code '))


@pytest.mark.usefixtures('width')
class TestPage:
    def test_it_opens_with_the_most_used_code_and_fits_the_screen(self, open_page, file, width):
        page, data = open_page(file), page_data(file)
        counts = data['codes']['patches']
        assert shown_code(page) == counts.index(max(counts))
        assert page.evaluate('document.documentElement.scrollWidth') <= width
        assert page.inner_text('#found') == '40 codes'
        assert 'a <b>tokenizer</b>' in page.inner_text('#source')

    def test_a_code_shows_its_photos_and_a_photo_its_codes(self, open_page, file):
        page, data = open_page(file), page_data(file)
        page.click('#code-grid .tile >> nth=1')
        code = shown_code(page)
        assert page.is_visible('#detail h2')
        page.click('#detail .example >> nth=0')
        photo, cell = data['codes']['exemplars'][code][:2]
        assert page.inner_text('#photo .name') == data['photos']['names'][photo]
        assert page.get_attribute('#photo .box.chosen', 'data-cell') == str(cell)
        assert shown_code(page) == code
        other = page.locator(f'#photo .alike:not([data-code="{code}"])').first
        other.click()
        assert shown_code(page) == int(other.get_attribute('data-code'))
        assert page.is_visible('#detail h2')

    def test_keys_do_what_the_pointer_does(self, open_page, file):
        page = open_page(file)
        first = shown_code(page)
        page.keyboard.press('ArrowRight')
        second = shown_code(page)
        assert second != first
        page.keyboard.press('ArrowLeft')
        assert shown_code(page) == first
        page.keyboard.press('Enter')
        assert page.is_visible('#detail h2')
        page.keyboard.press('Escape')
        page.keyboard.press('/')
        page.keyboard.type(str(second))
        page.keyboard.press('Enter')
        assert shown_code(page) == second
        page.keyboard.press('Escape')
        page.keyboard.press('Escape')
        assert page.input_value('#search') == ''
        page.keyboard.press('3')
        page.keyboard.press('ArrowRight')
        page.keyboard.press('Enter')
        assert page.is_visible('#photo .name')
        page.keyboard.press('ArrowRight')
        assert page.get_attribute('#photo .box.chosen', 'data-cell') == '0'
        page.keyboard.press('ArrowDown')
        assert page.get_attribute('#photo .box.chosen', 'data-cell') == '4'
        page.keyboard.press('Escape')
        page.keyboard.press('Escape')
        assert page.is_visible('#photo-grid')

    def test_search_sort_and_filter_choose_codes(self, open_page, file, survey):
        page, data = open_page(file), page_data(file)
        tiles = '#code-grid .tile .label b'
        page.select_option('#sort', 'area')
        area = data['codes']['area']
        assert int(page.locator(tiles).first.inner_text()) == area.index(max(area))
        page.select_option('#sort', 'sure')
        sure = survey.census.sure_purity
        assert sure[int(page.locator(tiles).first.inner_text())] == sure.max()
        page.select_option('#filter', 'dead')
        dead = int((~survey.used).sum())
        assert page.inner_text('#found') == (f'{dead} codes' if dead != 1 else '1 code')
        assert page.locator('#code-grid .face.dead').count() == dead
        page.select_option('#filter', 'used')
        page.fill('#search', 'plain')
        mostly = [c[0] for c in data['codes']['classes'] if c]
        assert page.inner_text('#found').startswith(
            str(mostly.count(data['classes'].index('plain')))
        )

    def test_an_unused_code_is_marked_and_names_its_like(self, open_page, file, survey):
        page = open_page(file)
        dead = int((~survey.used).nonzero()[0])
        page.fill('#search', str(dead))
        page.keyboard.press('Enter')
        assert shown_code(page) == dead
        assert 'None of the 160 patches has this code' in page.inner_text('#detail .note')
        page.click('#detail .alike >> nth=0')
        assert shown_code(page) == page_data(file)['codes']['near'][8 * dead]

    def test_the_map_leads_to_codes_by_pointer_and_arrows(self, open_page, file):
        page = open_page(file)
        page.click('#tab-map')
        place = page.evaluate('map.at(7)')
        box = page.locator('#plane').bounding_box()
        # The code on top there, which another may cover.
        expected = page.evaluate('map.nearest(...map.at(7), 14)')
        page.mouse.click(box['x'] + place[0], box['y'] + place[1])
        assert shown_code(page) == expected
        page.keyboard.press('Escape')
        page.keyboard.press('ArrowRight')
        page.keyboard.press('ArrowLeft')
        page.click('#closer')
        assert page.evaluate('map.zoom') == pytest.approx(1.6)

    def test_names_of_photos_are_text(self, open_page, file):
        page = open_page(file)
        page.click('#tab-photos')
        page.fill('#search', 'onerror')
        assert page.inner_text('#found') == '1 photo'
        page.click('#photo-grid .tile')
        assert page.inner_text('#photo .name').endswith(EVIL[0])
        assert page.locator('img').count() == 0
