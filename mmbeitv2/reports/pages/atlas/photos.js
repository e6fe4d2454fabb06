// Photos as tiles, and one photo with its codes: a patch leads to its code and to its like.

const photoBox = document.getElementById('photo');

const photoGrid = new Grid(document.getElementById('photo-grid'), {
  least: 128,
  below: 0,
  draw: (photo) => element('div', { title: photos.names[photo] }, pictureOf(photo)),
  choose: () => {},
  open: (photo) => app.openPhoto(photo, null),
});

function listPhotos(text) {
  const matches = (photo) =>
    photos.names[photo].toLowerCase().includes(text)
    || (photos.labels[photo] ?? '').toLowerCase().includes(text);
  return photos.names.map((_, photo) => photo).filter(matches);
}

function showPhoto(photo, cell) {
  const picture = pictureOf(photo);
  picture.classList.add('large');
  picture.append(latticeOf());
  for (let i = 0; i < cells; i++) {
    const box = boxOf(i);
    box.dataset.cell = i;
    picture.append(box);
  }
  picture.addEventListener('click', (event) => {
    if (event.target.dataset.cell) app.chooseCell(+event.target.dataset.cell);
  });
  picture.addEventListener('pointermove', (event) => {
    const over = event.target.dataset.cell;
    document.getElementById('over').textContent = over ? `code ${codeAt(photo, +over)}` : ' ';
  });
  const label = photos.labels[photo];
  photoBox.replaceChildren(
    element('div', { class: 'bar-of-photo' },
      element('button', { class: 'back', onclick: () => app.closePhoto() }, '← all photos'),
      element('span', { class: 'name' }, photos.names[photo]),
      label !== null && element('span', { class: 'chip' }, label)),
    element('div', { class: 'of-photo' },
      element('div', { class: 'frame' }, picture,
        element('p', { class: 'fine' }, 'Click a patch to see its code. ',
          element('span', { id: 'over' }, ' '))),
      codesOfPhoto(photo)),
  );
  markCell(photo, cell);
}

// Thin lines between the patches.
function latticeOf() {
  const lattice = element('span', { class: 'lattice' });
  lattice.style.backgroundSize = `${100 / columns}% ${100 / rows}%`;
  return lattice;
}

function codesOfPhoto(photo) {
  const counts = new Map();
  for (let cell = 0; cell < cells; cell++) {
    const code = codeAt(photo, cell);
    counts.set(code, (counts.get(code) ?? 0) + 1);
  }
  const sorted = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  return element('div', { class: 'codes-of-photo' },
    element('h3', {}, `${count(sorted.length, 'code')} in ${count(cells, 'patch', 'patches')}`),
    element('div', { class: 'alikes' }, ...sorted.map(([code, n]) =>
      element('button', {
        class: 'alike', 'data-code': code, 'aria-label': `Code ${code}, ${n} patches`,
        onclick: () => app.chooseCell(firstCell(photo, code)),
      }, faceOf(code), element('span', {}, code), element('small', {}, `${n} ×`)))));
}

function firstCell(photo, code) {
  for (let cell = 0; cell < cells; cell++) if (codeAt(photo, cell) === code) return cell;
  return null;
}

// The chosen patch, and the others of its code.
function markCell(photo, cell) {
  photoBox.querySelector('.veil')?.remove();
  photoBox.querySelectorAll('[data-cell].chosen').forEach((box) => box.classList.remove('chosen'));
  photoBox.querySelectorAll('.alike').forEach((tile) => tile.classList.remove('chosen'));
  if (cell === null) return;
  const code = codeAt(photo, cell);
  photoBox.querySelector('.picture').prepend(veil(photo, code));
  photoBox.querySelector(`[data-cell="${cell}"]`).classList.add('chosen');
  photoBox.querySelector(`[data-code="${code}"]`).classList.add('chosen');
}
