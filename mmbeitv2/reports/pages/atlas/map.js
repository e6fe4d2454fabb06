// The codebook on a plane: drag, wheel or pinch to move, click a code to choose it.

const plane = document.getElementById('plane');
const MAP_SIDE = 10000;
const MARGIN = 34;
// Pixels between codes, on average, from which faces can be told apart.
const FACES_FROM = 34;

const map = {
  zoom: 1, x: 0, y: 0, hover: -1, images: new Map(), pointers: new Map(), moved: 0, waiting: false,

  // Common codes are drawn last, on top.
  order: Array.from({ length: data.total }, (_, code) => code)
    .sort((a, b) => codes.patches[a] - codes.patches[b]),

  scale() {
    return ((Math.min(this.width, this.height) - 2 * MARGIN) / MAP_SIDE) * this.zoom;
  },

  at(code) {
    const scale = this.scale();
    return [
      this.width / 2 + this.x + (codes.place[2 * code] - MAP_SIDE / 2) * scale,
      this.height / 2 + this.y - (codes.place[2 * code + 1] - MAP_SIDE / 2) * scale,
    ];
  },

  // Half the side, in pixels.
  radius(code) {
    const used = codes.patches[code];
    return used ? Math.min(34, Math.max(2.5, this.apart() * (0.15 + 0.2 * Math.sqrt(used / most)))) : 2.5;
  },

  apart() {
    return Math.sqrt((this.width * this.height) / data.used) * this.zoom;
  },

  image(number) {
    if (!this.images.has(number)) {
      const image = new Image();
      image.onload = () => this.draw();
      image.src = sheet('faces', number).url;
      this.images.set(number, image);
    }
    return this.images.get(number);
  },

  resize() {
    const box = plane.getBoundingClientRect();
    if (!box.width) return;
    [this.width, this.height] = [box.width, box.height];
    const dense = window.devicePixelRatio || 1;
    plane.width = Math.round(box.width * dense);
    plane.height = Math.round(box.height * dense);
    this.draw();
  },

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
    });
  },

  paint() {
    if (!this.width) return;
    const pen = plane.getContext('2d');
    const dense = plane.width / this.width;
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    const text = app.query();
    for (const code of this.order) this.dot(pen, code, !text || matchesCode(code, text));
    for (const code of [this.hover, app.code]) if (code >= 0) this.ring(pen, code, code === app.code);
  },

  dot(pen, code, found) {
    const [x, y] = this.at(code);
    const r = this.radius(code);
    if (x < -r || y < -r || x > this.width + r || y > this.height + r) return;
    pen.globalAlpha = found ? 1 : 0.12;
    if (!codes.patches[code]) {
      pen.strokeStyle = '#9aa5b1';
      pen.beginPath();
      pen.moveTo(x - r, y - r);
      pen.lineTo(x + r, y + r);
      pen.moveTo(x + r, y - r);
      pen.lineTo(x - r, y + r);
      pen.stroke();
    } else if (document.getElementById('paint').value === 'face' && this.apart() >= FACES_FROM) {
      this.face(pen, code, x, y, r);
    } else {
      pen.fillStyle = this.colour(code);
      pen.strokeStyle = 'rgba(255, 255, 255, .8)';
      pen.lineWidth = 0.7;
      pen.beginPath();
      pen.arc(x, y, r, 0, 7);
      pen.fill();
      pen.stroke();
    }
    pen.globalAlpha = 1;
  },

  face(pen, code, x, y, r) {
    const across = perRow.faces;
    const number = Math.floor(codes.face[code] / across ** 2);
    const place = codes.face[code] % across ** 2;
    const image = this.image(number);
    if (!image.complete) return;
    const { side } = sheet('faces', number);
    pen.fillStyle = '#fff';
    pen.fillRect(x - r - 1, y - r - 1, 2 * r + 2, 2 * r + 2);
    pen.drawImage(image, (place % across) * side, Math.floor(place / across) * side, side, side,
      x - r, y - r, 2 * r, 2 * r);
  },

  ring(pen, code, chosen) {
    const [x, y] = this.at(code);
    const r = this.radius(code) + 3;
    pen.strokeStyle = chosen ? '#2563eb' : '#1f2933';
    pen.lineWidth = chosen ? 3 : 1.5;
    pen.strokeRect(x - r, y - r, 2 * r, 2 * r);
  },

  colour(code) {
    if (document.getElementById('paint').value !== 'class') return `#${codes.colour[code]}`;
    const label = codes.classes[code][0];
    return label === undefined ? '#c3cad2' : classColour(label);
  },

  nearest(x, y, within) {
    let best = -1;
    let least = within;
    for (const code of this.order) {
      const [cx, cy] = this.at(code);
      const distance = Math.max(0, Math.hypot(x - cx, y - cy) - this.radius(code));
      if (distance <= least) [best, least] = [code, distance];
    }
    return best;
  },

  // Zoom about a place of the canvas that stays where it is.
  zoomAt(x, y, factor) {
    const zoom = Math.min(60, Math.max(0.7, this.zoom * factor));
    const done = zoom / this.zoom;
    this.x = (x - this.width / 2) * (1 - done) + this.x * done;
    this.y = (y - this.height / 2) * (1 - done) + this.y * done;
    this.zoom = zoom;
    this.draw();
  },

  whole() {
    Object.assign(this, { zoom: 1, x: 0, y: 0 });
    this.draw();
  },

  reveal(code) {
    if (!this.width) return;
    const [x, y] = this.at(code);
    if (x < MARGIN || x > this.width - MARGIN) this.x += this.width / 2 - x;
    if (y < MARGIN || y > this.height - MARGIN) this.y += this.height / 2 - y;
    this.draw();
  },

  // The nearest code in a direction: what lies aside counts twice as far.
  step(name) {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[name];
    const [x, y] = this.at(app.code);
    let best = -1;
    let least = Infinity;
    for (const code of this.order) {
      const [cx, cy] = this.at(code);
      const along = (cx - x) * dx + (cy - y) * dy;
      const aside = Math.abs((cx - x) * dy) + Math.abs((cy - y) * dx);
      if (along > 1 && along + 2 * aside < least) [best, least] = [code, along + 2 * aside];
    }
    if (best >= 0) app.chooseCode(best, false);
  },
};

// Few classes get colours that differ in hue and lightness, many get hues.
const FEW = ['#2563eb', '#e8890c', '#0d9488', '#e11d8f', '#7c3aed', '#dc2626', '#15a34a', '#92610a',
  '#12b5cb', '#1f2933'];
const classColour = (label) =>
  data.classes.length <= FEW.length ? FEW[label] : `hsl(${(label * 137.5) % 360} 65% 45%)`;
