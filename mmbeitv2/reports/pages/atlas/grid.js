// A grid of tiles of which only those in sight exist: thousands cost no more than a screenful.

const GAP = 8;
const AHEAD = 2;

class Grid {
  // box scrolls; least is the least width of a tile, below its height under the square picture;
  // draw makes a tile of an item, choose is told of one that is chosen, open of one that is opened.
  constructor(box, { least, below, draw, choose, open }) {
    Object.assign(this, { box, least, below, draw, choose, open });
    this.items = [];
    this.at = -1;
    this.tiles = new Map();
    this.inner = element('div', { class: 'inner' });
    box.append(this.inner);
    box.addEventListener('scroll', () => this.paint(), { passive: true });
    box.addEventListener('click', (event) => this.clicked(event));
    new ResizeObserver(() => this.layout()).observe(box);
  }

  set(items, chosen) {
    this.items = items;
    this.at = items.indexOf(chosen);
    this.box.scrollTop = 0;
    this.layout();
  }

  layout() {
    const width = this.inner.clientWidth;
    if (!width) return;
    const least = Math.min(this.least, (width - 3 * GAP) / 4);
    this.across = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
    this.width = (width - GAP * (this.across - 1)) / this.across;
    this.height = this.width + this.below;
    const lines = Math.ceil(this.items.length / this.across);
    this.inner.style.height = `${Math.max(0, lines * (this.height + GAP) - GAP)}px`;
    this.tiles.forEach((tile) => tile.remove());
    this.tiles.clear();
    this.paint();
  }

  paint() {
    if (!this.across) return;
    const line = this.height + GAP;
    const first = Math.max(0, Math.floor(this.box.scrollTop / line) - AHEAD) * this.across;
    const last = Math.min(
      this.items.length,
      (Math.ceil((this.box.scrollTop + this.box.clientHeight) / line) + AHEAD) * this.across,
    );
    for (const [index, tile] of this.tiles) {
      if (index < first || index >= last) {
        tile.remove();
        this.tiles.delete(index);
      }
    }
    for (let index = first; index < last; index++) {
      if (!this.tiles.has(index)) this.add(index);
    }
  }

  add(index) {
    const tile = this.draw(this.items[index]);
    tile.classList.add('tile');
    tile.id = `${this.box.id}-${index}`;
    tile.dataset.index = index;
    tile.setAttribute('role', 'option');
    tile.setAttribute('aria-selected', index === this.at);
    const left = (index % this.across) * (this.width + GAP);
    const top = Math.floor(index / this.across) * (this.height + GAP);
    tile.style.cssText += `;width:${this.width}px;height:${this.height}px;left:${left}px;top:${top}px`;
    this.tiles.set(index, tile);
    this.inner.append(tile);
  }

  // Mark an item as chosen from elsewhere, and bring it into sight.
  mark(item, scroll = true) {
    this.tiles.get(this.at)?.setAttribute('aria-selected', 'false');
    this.at = this.items.indexOf(item);
    this.tiles.get(this.at)?.setAttribute('aria-selected', 'true');
    if (this.at < 0 || !this.across) return;
    this.box.setAttribute('aria-activedescendant', `${this.box.id}-${this.at}`);
    if (!scroll) return;
    const top = Math.floor(this.at / this.across) * (this.height + GAP);
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    const bottom = top + this.height + 2 * GAP;
    if (bottom > this.box.scrollTop + this.box.clientHeight) {
      this.box.scrollTop = bottom - this.box.clientHeight;
    }
    this.paint();
  }

  clicked(event) {
    const tile = event.target.closest('.tile');
    if (!tile) return;
    this.mark(this.items[+tile.dataset.index]);
    this.choose(this.items[this.at]);
    this.open(this.items[this.at]);
  }

  // Whether a key was one of the grid's.
  key(name) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.across, ArrowDown: this.across };
    if (name === 'Enter' && this.at >= 0) {
      this.open(this.items[this.at]);
    } else if (name in steps && this.items.length) {
      const next = this.at < 0 ? 0 : this.at + steps[name];
      if (next >= 0 && next < this.items.length) {
        this.mark(this.items[next]);
        this.choose(this.items[next]);
      }
    } else {
      return false;
    }
    return true;
  }
}
