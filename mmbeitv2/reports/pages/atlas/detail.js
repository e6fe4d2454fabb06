// Everything known of one code: the panel at the right, on phones a sheet over the page.

const detail = document.getElementById('detail');
const FIRST = 6;
// Of a finer grid a patch is too small to be seen in a small photo.
const FINE = 10;

function showDetail(code) {
  detail.replaceChildren(
    ...[
      headOf(code),
      codes.patches[code] ? numbersOf(code) : deadNote(),
      codes.patches[code] > 0 && examplesOf(code),
      codes.patches[code] > 0 && labelled > 0 && aboutOf(code),
      alikeOf(code),
    ].filter(Boolean),
  );
  detail.scrollTop = 0;
}

function headOf(code) {
  const used = codes.patches[code];
  const swatch = element('span', { class: 'swatch' });
  swatch.style.background = `#${codes.colour[code]}`;
  return element(
    'div',
    { class: 'head' },
    faceOf(code),
    element(
      'div',
      {},
      element('h2', {}, `Code ${code}`),
      element('p', {}, used ? subtitle(code) : 'unused'),
      used > 0 &&
        element('p', { class: 'fine' }, swatch, `mean colour #${codes.colour[code]}`),
    ),
    element('button', { class: 'close', 'aria-label': 'Close', onclick: () => app.closeDetail() }, '×'),
  );
}

function subtitle(code) {
  if (!labelled) return `${rankOf(code)} of ${NUMBER.format(data.used)} used codes`;
  const [first] = classesOf(code);
  return first
    ? `most often in photos of ${data.classes[first.label]} (${percent(codes.purity[code] / 1000)})`
    : 'in no labelled photo';
}

const rankOf = (code) => {
  const rank = 1 + codes.patches.filter((other) => other > codes.patches[code]).length;
  return `no. ${NUMBER.format(rank)}`;
};

const deadNote = () =>
  element('p', { class: 'note' },
    `None of the ${count(data.patches, 'patch', 'patches')} has this code. A codebook with many such ` +
    'codes has partly collapsed. Below: the codes that stand nearest to it.');

function numbersOf(code) {
  const fact = (value, what, hint) =>
    element('div', { title: hint }, element('b', {}, value), element('span', {}, what));
  return element(
    'div',
    { class: 'numbers' },
    fact(NUMBER.format(codes.patches[code]), 'patches', `rank by usage: ${rankOf(code)}`),
    fact(percent(codes.patches[code] / data.patches), 'of all', 'Share of all patches'),
    fact(NUMBER.format(codes.photos[code]), codes.photos[code] === 1 ? 'photo' : 'photos',
      `of ${NUMBER.format(data.seen)} that were coded`),
    fact(codes.area[code].toFixed(1), 'patches a region',
      'Mean size of its connected regions: large ones are grounds and skies, small ones parts'),
  );
}

function examplesOf(code) {
  const flat = codes.exemplars[code];
  const found = [];
  for (let i = 0; i < flat.length; i += 2) found.push(exampleOf(code, flat[i], flat[i + 1]));
  return element(
    'section', {},
    element('h3', {}, 'Examples, the nearest first'),
    element('p', { class: 'fine' }, 'Bright: its patches; framed: the one nearest to the code in each '
      + 'photo. A click opens the photo.'),
    element('div', { class: 'examples' }, ...found),
    found.length > FIRST && moreOf(found),
  );
}

function moreOf(found) {
  found.slice(FIRST).forEach((example) => { example.hidden = true; });
  return element('button', {
    class: 'more',
    onclick: (event) => {
      found.forEach((example) => { example.hidden = false; });
      event.target.remove();
    },
  }, `all ${found.length}`);
}

function exampleOf(code, photo, cell) {
  const picture = pictureOf(photo);
  picture.append(veil(photo, code), boxOf(cell));
  if (columns >= FINE) picture.append(lensOf(photo, cell));
  const name = photos.names[photo];
  return element('button', {
    class: 'example', title: name, 'aria-label': `Open photo ${name}`,
    onclick: () => app.openPhoto(photo, cell),
  }, picture);
}

function aboutOf(code) {
  const found = classesOf(code);
  const total = codes.purity[code] === null ? 0 : found[0].photos / (codes.purity[code] / 1000);
  const lines = found.map(({ label, photos: n }) => {
    const bar = element('i');
    bar.style.width = `${(100 * n) / total}%`;
    const base = data.labelled[label] / labelled;
    return element('li', {},
      element('span', { class: 'name', title: data.classes[label] }, data.classes[label]),
      element('span', { class: 'bar' }, bar),
      element('span', { class: 'value' }, percent(n / total)),
      element('span', { class: 'lift', title: `${percent(base)} of all labelled photos` },
        `${(n / total / base).toFixed(1)} ×`));
  });
  return element('section', {},
    element('h3', {}, 'Classes of the photos that show it'),
    element('p', { class: 'fine' },
      `Purity ${percent(codes.purity[code] / 1000)}, at least ${percent(codes.sure[code] / 1000)} given `
      + 'so many photos. × : how much commoner than in all photos.'),
    element('ul', { class: 'classes' }, ...lines));
}

function alikeOf(code) {
  const start = code * codes.neighbours;
  const tiles = Array.from({ length: codes.neighbours }, (_, i) => {
    const other = codes.near[start + i];
    return element('button', {
      class: 'alike', 'aria-label': `Code ${other}`, onclick: () => app.chooseCode(other, true),
    }, faceOf(other), element('span', {}, `${other}`),
    element('small', {}, (codes.cosine[start + i] / 1000).toFixed(2)));
  });
  return element('section', {},
    element('h3', {}, 'Nearest codes'),
    element('p', { class: 'fine' }, 'Number and cosine.'),
    element('div', { class: 'alikes' }, ...tiles));
}
