// What is chosen and shown, and what keys, pointers and controls do about it.

const VIEWS = ['codes', 'map', 'photos'];
const find = (id) => document.getElementById(id);
const search = find('search');
const PHONE = window.matchMedia('(max-width: 760px)');

const app = {
  view: '', code: -1, photo: -1, cell: null,

  query: () => search.value.trim().toLowerCase(),

  show(view) {
    this.view = view;
    for (const name of VIEWS) {
      find(name).hidden = name !== view;
      find(`tab-${name}`).setAttribute('aria-selected', name === view);
    }
    find('order').hidden = view !== 'codes';
    search.placeholder = { codes: 'number or class', map: 'number or class', photos: 'file or class' }[view];
    this.list();
    if (view === 'map') map.resize();
  },

  list() {
    const text = this.query();
    let found;
    if (this.view === 'photos') {
      const shown = listPhotos(text);
      photoGrid.set(shown, this.photo);
      found = data.seen > photos.names.length && !text
        ? `${NUMBER.format(shown.length)} of ${count(data.seen, 'photo')}`
        : count(shown.length, 'photo');
    } else {
      const shown = listCodes(text);
      if (this.view === 'codes') codeGrid.set(shown, this.code);
      found = count(shown.length, 'code');
      map.draw();
    }
    find('found').textContent = found;
  },

  chooseCode(code, open) {
    this.code = code;
    showDetail(code);
    codeGrid.mark(code);
    map.reveal(code);
    history.replaceState(null, '', `#code-${code}`);
    if (open) this.openDetail();
  },

  openDetail() {
    detail.classList.add('open');
  },

  closeDetail() {
    detail.classList.remove('open');
  },

  openPhoto(photo, cell) {
    if (this.view !== 'photos') this.show('photos');
    this.photo = photo;
    this.cell = cell;
    this.closeDetail();
    photoGrid.mark(photo);
    find('photo-grid').hidden = true;
    photoBox.hidden = false;
    photoBox.scrollTop = 0;
    showPhoto(photo, cell);
    if (cell !== null) this.chooseCode(codeAt(photo, cell), false);
  },

  closePhoto() {
    this.cell = null;
    photoBox.hidden = true;
    find('photo-grid').hidden = false;
    photoGrid.layout();
    photoGrid.mark(this.photo);
  },

  chooseCell(cell) {
    this.cell = cell;
    markCell(this.photo, cell);
    this.chooseCode(codeAt(this.photo, cell), true);
  },

  back() {
    if (detail.classList.contains('open') && PHONE.matches) this.closeDetail();
    else if (document.activeElement === search) search.blur();
    else if (this.view === 'photos' && !photoBox.hidden) this.closePhoto();
    else if (search.value) { search.value = ''; this.list(); }
  },

  arrow(name) {
    if (this.view === 'codes') return codeGrid.key(name);
    if (this.view === 'photos' && photoBox.hidden) return photoGrid.key(name);
    if (name === 'Enter') { this.openDetail(); return true; }
    if (!name.startsWith('Arrow')) return false;
    if (this.view === 'map') { map.step(name); return true; }
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const next = this.cell === null ? 0 : this.cell + steps[name];
    if (next >= 0 && next < cells) this.chooseCell(next);
    return true;
  },
};

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === 'Escape') return app.back();
  if (event.target === search) {
    if (event.key === 'Enter' || event.key === 'ArrowDown') {
      search.blur();
      if (app.view === 'codes' && codeGrid.items.length) app.chooseCode(codeGrid.items[0], true);
      event.preventDefault();
    }
    return;
  }
  if (event.target.closest('select')) return;
  // Enter on a button is a click on it.
  if (event.key === 'Enter' && event.target.closest('button')) return;
  if (event.key === '/') search.focus();
  else if ('123'.includes(event.key)) app.show(VIEWS[event.key - 1]);
  else if (!app.arrow(event.key)) return;
  event.preventDefault();
});

for (const view of VIEWS) find(`tab-${view}`).addEventListener('click', () => app.show(view));
search.addEventListener('input', () => {
  if (app.view === 'photos' && !photoBox.hidden) app.closePhoto();
  app.list();
});
for (const id of ['sort', 'filter']) find(id).addEventListener('change', () => app.list());

const inPlane = (event) => {
  const box = plane.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};

plane.addEventListener('wheel', (event) => {
  event.preventDefault();
  map.zoomAt(...inPlane(event), Math.exp(-event.deltaY / 400));
}, { passive: false });
plane.addEventListener('pointerdown', (event) => {
  plane.setPointerCapture(event.pointerId);
  map.pointers.set(event.pointerId, inPlane(event));
  if (map.pointers.size === 1) map.moved = 0;
});
plane.addEventListener('pointermove', (event) => {
  const [x, y] = inPlane(event);
  const last = map.pointers.get(event.pointerId);
  if (!last) return hover(x, y);
  const others = [...map.pointers].filter(([id]) => id !== event.pointerId);
  if (others.length) {
    const [ox, oy] = others[0][1];
    map.zoomAt(ox, oy, Math.hypot(x - ox, y - oy) / Math.max(1, Math.hypot(last[0] - ox, last[1] - oy)));
    map.moved = 99;
  } else {
    map.x += x - last[0];
    map.y += y - last[1];
    map.moved += Math.hypot(x - last[0], y - last[1]);
    map.draw();
  }
  map.pointers.set(event.pointerId, [x, y]);
});
for (const name of ['pointerup', 'pointercancel']) {
  plane.addEventListener(name, (event) => {
    map.pointers.delete(event.pointerId);
    const code = map.moved < 6 && name === 'pointerup' ? map.nearest(...inPlane(event), 14) : -1;
    if (code >= 0) app.chooseCode(code, true);
  });
}
plane.addEventListener('pointerleave', () => hover(-99, -99));

function hover(x, y) {
  map.hover = map.nearest(x, y, 4);
  const tip = find('tip');
  tip.hidden = map.hover < 0;
  if (map.hover >= 0) {
    const name = commonest(map.hover);
    tip.textContent = `code ${map.hover} · ${count(codes.patches[map.hover], 'patch', 'patches')}`
      + (name ? ` · ${name}` : '');
    tip.style.left = `${Math.min(x + 14, map.width - 190)}px`;
    tip.style.top = `${Math.min(y + 14, map.height - 40)}px`;
  }
  map.draw();
}

find('closer').addEventListener('click', () => map.zoomAt(map.width / 2, map.height / 2, 1.6));
find('farther').addEventListener('click', () => map.zoomAt(map.width / 2, map.height / 2, 1 / 1.6));
find('whole').addEventListener('click', () => map.whole());
find('paint').addEventListener('change', () => {
  find('legend').hidden = find('paint').value !== 'class';
  map.draw();
});
new ResizeObserver(() => map.resize()).observe(plane);

function begin() {
  find('source').textContent = `${data.title} · each tile is one code, shown by the patch nearest to it `
    + '(framed).';
  const facts = [
    [`${NUMBER.format(data.used)} of ${NUMBER.format(data.total)}`, 'codes used'],
    [NUMBER.format(data.perplexity), 'perplexity'],
    [NUMBER.format(data.seen), data.seen === 1 ? 'photo' : 'photos'],
    [NUMBER.format(data.patches), 'patches'],
  ];
  find('facts').append(...facts.map(([value, what]) =>
    element('div', {}, element('dt', {}, what), element('dd', {}, value))));
  find('map-note').textContent = `Principal components of the used codes; the plane shows `
    + `${percent(codes.explained)} of how they differ. × : unused.`;
  if (!labelled) {
    find('sort').querySelector('[value=sure]').remove();
    find('paint').querySelector('[value=class]').remove();
  }
  find('legend').hidden = true;
  find('legend').append(...data.classes.slice(0, 20).map((name, label) => {
    const dot = element('i');
    dot.style.background = classColour(label);
    return element('li', {}, dot, name);
  }));
  const asked = /^#code-(\d+)$/.exec(location.hash);
  app.show('codes');
  const first = codeGrid.items[0];
  app.chooseCode(asked && +asked[1] < data.total ? +asked[1] : first, false);
  document.documentElement.dataset.ready = 'true';
}
begin();
