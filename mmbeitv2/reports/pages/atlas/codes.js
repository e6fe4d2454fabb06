// All codes as tiles: order, filter, search.

const most = Math.max(1, ...codes.patches);

const ORDERS = {
  patches: (a, b) => codes.patches[b] - codes.patches[a],
  rare: (a, b) => codes.patches[a] - codes.patches[b],
  // By the lower end of the interval: one photo makes no code pure.
  sure: (a, b) => codes.sure[b] - codes.sure[a],
  area: (a, b) => codes.area[b] - codes.area[a],
  number: (a, b) => a - b,
};

const FILTERS = {
  all: () => true,
  used: (code) => codes.patches[code] > 0,
  dead: (code) => codes.patches[code] === 0,
};

const codeGrid = new Grid(document.getElementById('code-grid'), {
  least: 84,
  below: 34,
  draw: codeTile,
  choose: (code) => app.chooseCode(code, false),
  open: () => app.openDetail(),
});

function codeTile(code) {
  const used = codes.patches[code];
  const bar = element('i');
  // The root keeps rare codes visible beside common ones.
  bar.style.width = `${100 * Math.sqrt(used / most)}%`;
  return element('div', {
    title: used ? `Code ${code}: ${count(used, 'patch', 'patches')}` : `Code ${code} is unused`,
  }, faceOf(code),
  element('span', { class: 'label' }, element('b', {}, code),
    element('span', {}, used ? badgeOf(code) : 'unused')),
  element('span', { class: 'bar' }, bar));
}

function badgeOf(code) {
  const sort = document.getElementById('sort').value;
  if (sort === 'sure' && codes.purity[code] !== null) return percent(codes.purity[code] / 1000);
  if (sort === 'area') return codes.area[code].toFixed(1);
  return SHORT.format(codes.patches[code]);
}

// A number finds codes that begin with it, that very one first; words find the commonest class.
function matchesCode(code, text) {
  if (!text) return true;
  if (/^\d+$/.test(text)) return String(code).startsWith(text);
  if (text === 'unused' || text === 'dead') return codes.patches[code] === 0;
  return commonest(code).toLowerCase().includes(text);
}

function listCodes(text) {
  const sort = document.getElementById('sort').value;
  const chosen = FILTERS[document.getElementById('filter').value];
  const found = [];
  for (let code = 0; code < data.total; code++) {
    if (chosen(code) && matchesCode(code, text)) found.push(code);
  }
  const exact = (code) => (String(code) === text ? 0 : 1);
  // Unused codes have no place in an order of what is used.
  const dead = (code) => (sort !== 'number' && codes.patches[code] === 0 ? 1 : 0);
  return found.sort(
    (a, b) => exact(a) - exact(b) || dead(a) - dead(b) || ORDERS[sort](a, b) || a - b,
  );
}
