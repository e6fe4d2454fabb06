// The page's data, and what every view makes of them: pictures, numbers in words, elements.

const data = JSON.parse(document.getElementById('data').textContent);
const [rows, columns] = data.grid;
const cells = rows * columns;
const codes = data.codes;
const photos = data.photos;
const labelled = data.labelled.reduce((sum, count) => sum + count, 0);
const NUMBER = new Intl.NumberFormat('en');
const SHORT = new Intl.NumberFormat('en', { notation: 'compact' });

photos.grid = (() => {
  const bytes = Uint8Array.from(atob(photos.codes), (letter) => letter.charCodeAt(0));
  return new Uint16Array(bytes.buffer);
})();
delete photos.codes;

// Faces are drawn of used codes only, in the order of the codes.
codes.face = (() => {
  let next = 0;
  return codes.patches.map((count) => (count ? next++ : -1));
})();

const count = (number, one, many = `${one}s`) =>
  `${NUMBER.format(number)} ${number === 1 ? one : many}`;
const percent = (share) => {
  const value = 100 * share;
  if (value > 0 && value < 0.01) return '< 0.01 %';
  return `${value >= 10 || value === 0 ? value.toFixed(0) : value.toPrecision(2)} %`;
};
const codeAt = (photo, cell) => photos.grid[photo * cells + cell];

// Names come from files: they are only ever set as text or attributes, never parsed as HTML.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, '');
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null && child !== false));
  return made;
}

const sheets = new Map();

// A sheet becomes a file in memory when its first picture is wanted.
function sheet(kind, number) {
  const name = `${kind}-${number}`;
  if (!sheets.has(name)) {
    const source = document.getElementById(name);
    const bytes = Uint8Array.from(atob(source.textContent), (letter) => letter.charCodeAt(0));
    const url = URL.createObjectURL(new Blob([bytes], { type: 'image/jpeg' }));
    source.textContent = '';
    sheets.set(name, { url, columns: +source.dataset.columns, side: +source.dataset.side });
  }
  return sheets.get(name);
}

const layoutOf = (kind) => +(document.getElementById(`${kind}-0`)?.dataset.columns ?? 1);
const perRow = { photos: layoutOf('photos'), faces: layoutOf('faces') };

function showSprite(target, kind, index) {
  const across = perRow[kind];
  const { url } = sheet(kind, Math.floor(index / across ** 2));
  const place = index % across ** 2;
  const share = (n) => `${(100 * n) / (across - 1)}%`;
  target.style.backgroundImage = `url(${url})`;
  target.style.backgroundSize = `${100 * across}%`;
  target.style.backgroundPosition = `${share(place % across)} ${share(Math.floor(place / across))}`;
  return target;
}

function faceOf(code) {
  const face = element('span', { class: 'face' });
  if (codes.face[code] < 0) face.classList.add('dead');
  else showSprite(face, 'faces', codes.face[code]);
  return face;
}

const pictureOf = (photo) => showSprite(element('span', { class: 'picture' }), 'photos', photo);

// A patch with those around it, enlarged, in the corner that it is farthest from.
function lensOf(photo, cell) {
  const column = cell % columns;
  const row = Math.floor(cell / columns);
  const lens = showSprite(element('span', { class: 'lens' }), 'photos', photo);
  const place = photo % perRow.photos ** 2;
  const offset = (number, index, size) => {
    const first = Math.min(Math.max(index - 1, 0), size - 3);
    return (100 * ((number * size + first) / 3)) / ((perRow.photos * size) / 3 - 1);
  };
  lens.style.backgroundSize =
    `${(100 * perRow.photos * columns) / 3}% ${(100 * perRow.photos * rows) / 3}%`;
  lens.style.backgroundPosition = `${offset(place % perRow.photos, column, columns)}% ${
    offset(Math.floor(place / perRow.photos), row, rows)}%`;
  lens.style[column < columns / 2 ? 'right' : 'left'] = '4px';
  lens.style[row < rows / 2 ? 'bottom' : 'top'] = '4px';
  return lens;
}

// A pixel for each cell: those of other codes are darkened.
function veil(photo, code) {
  const canvas = element('canvas', { class: 'veil', width: columns, height: rows });
  const pen = canvas.getContext('2d');
  pen.fillStyle = 'rgba(15, 23, 42, .58)';
  for (let cell = 0; cell < cells; cell++) {
    if (codeAt(photo, cell) !== code) pen.fillRect(cell % columns, Math.floor(cell / columns), 1, 1);
  }
  return canvas;
}

function boxOf(cell) {
  const box = element('span', { class: 'box' });
  box.style.cssText = `left:${(100 * (cell % columns)) / columns}%;top:${
    (100 * Math.floor(cell / columns)) / rows}%;width:${100 / columns}%;height:${100 / rows}%`;
  return box;
}

// Class and photos of the commonest classes of a code.
function classesOf(code) {
  const flat = codes.classes[code];
  const found = [];
  for (let i = 0; i < flat.length; i += 2) found.push({ label: flat[i], photos: flat[i + 1] });
  return found;
}

const commonest = (code) => (codes.classes[code].length ? data.classes[codes.classes[code][0]] : '');
