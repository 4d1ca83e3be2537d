// Draws the timelines. Everything that is said is in the pictures; this only places it.
'use strict';
(() => {
  const SVG = 'http://www.w3.org/2000/svg';
  const GUTTER = 150, RIGHT = 12, AXIS = 22, BAND = 18, ROW = 20, PHASE = 8, GAP = 8, TOP = 16;
  const LOOKS = { succeeded: 'succeeded', failed: 'failed', panicked: 'panicked', timed_out: 'timed out',
    interrupted: 'interrupted', cut: 'no end', life: 'process', killed: 'killed' };
  // A pattern beside each colour: lines that lean, cross or lie.
  const MARKS = { failed: 'M0 6 6 0', panicked: 'M0 0 6 6M0 6 6 0', timed_out: 'M0 3H6', interrupted: 'M3 0V6',
    cut: 'M0 0 6 6', killed: 'M0 0 6 6' };
  let pictures = 0;

  const make = (name, attributes, parent, text) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  };
  const seconds = ms => (ms / 1000).toFixed(3) + ' s';
  const button = (label, text, act, parent) => {
    const element = document.createElement('button');
    element.type = 'button'; element.textContent = text; element.setAttribute('aria-label', label);
    element.addEventListener('click', act); parent.append(element);
  };
  // The first free row for each span, in the order of their beginnings.
  const packed = (spans, width) => {
    const ends = [];
    return spans.map(span => {
      let row = ends.findIndex(end => end <= span.from_ms);
      if (row < 0) row = ends.length;
      ends[row] = Math.max(span.to_ms, span.from_ms + width);
      return row;
    });
  };

  const draw = figure => {
    const picture = JSON.parse(figure.querySelector('script').textContent);
    const id = 'p' + pictures++;
    const whole = Math.max(picture.until_ms, 1) * 1.02;
    let from = 0, to = whole, width = 0, chosen = null;

    const bar = document.createElement('div'); bar.className = 'bar-row';
    button('Zoom in', '+', () => zoom(.5), bar);
    button('Zoom out', '−', () => zoom(2), bar);
    button('Show all', 'all', () => show(0, whole), bar);
    if (picture.broken) button('Go to the broken rule', 'broken rule', () => toBroken(), bar);
    const legend = document.createElement('div'); legend.className = 'legend'; bar.append(legend);
    const svg = make('svg', { class: 'plot', tabindex: 0, role: 'group', 'aria-roledescription': 'timeline' });
    const output = document.createElement('output'); output.setAttribute('aria-live', 'polite');
    figure.querySelector('figcaption').after(bar, svg, output);

    const defs = make('defs', {}, svg);
    for (const [look, path] of Object.entries(MARKS)) {
      const pattern = make('pattern', { id: id + look, width: 6, height: 6, patternUnits: 'userSpaceOnUse' }, defs);
      make('rect', { width: 6, height: 6, style: `fill:var(--${look})` }, pattern);
      make('path', { d: path, style: 'stroke:var(--panel);stroke-width:1;fill:none' }, pattern);
    }
    const clip = make('clipPath', { id: id + 'clip' }, defs);
    const clipRect = make('rect', { x: GUTTER, y: 0 }, clip);
    const paint = look => MARKS[look] ? `url(#${id}${look})` : `var(--${look})`;

    const used = new Set(picture.lanes.flatMap(lane => lane.bars.map(it => it.look)));
    for (const look of Object.keys(LOOKS)) {
      if (!used.has(look)) continue;
      const item = document.createElement('span');
      const sample = make('svg', { width: 14, height: 12, 'aria-hidden': true }, item);
      make('rect', { width: 14, height: 12, style: `fill:${paint(look)}` }, sample);
      item.append(LOOKS[look]); legend.append(item);
    }

    // What lies where: first the faults, a lane of their own, then the nodes and their workers.
    const bandRows = packed(picture.bands, whole / 6);
    const bandsTop = AXIS + TOP;
    let y = bandsTop + (Math.max(-1, ...bandRows) + 1) * BAND + GAP;
    const lanesTop = y;
    const grid = make('g', {}, svg);
    const shadows = make('g', { 'clip-path': `url(#${id}clip)` }, svg);
    const labels = make('g', {}, svg);
    const plot = make('g', { 'clip-path': `url(#${id}clip)` }, svg);
    if (picture.bands.length) make('text', { x: 4, y: bandsTop + 13, class: 'soft' }, labels, 'faults');
    const placed = [], rows = [];

    const add = (element, item, fromMs, toMs, least, text) => {
      const entry = { element, fromMs, toMs, least, text, label: null, item };
      element.addEventListener('pointerenter', () => say(entry));
      element.addEventListener('click', () => choose(entry));
      make('title', {}, element, text);
      placed.push(entry);
      return entry;
    };
    const bandEntries = picture.bands.map((band, index) => {
      const idle = band.struck_ms === null;
      const element = make('rect', { class: 'fault' + (idle ? ' idle' : ''), y: bandsTop + bandRows[index] * BAND, height: BAND - 3 }, plot);
      const effect = idle ? 'had no effect' : 'first struck at ' + seconds(band.struck_ms);
      const until = band.to_ms > band.from_ms ? ' until ' + seconds(band.to_ms) : '';
      const entry = add(element, band, band.from_ms, band.to_ms, 4, `fault ${index + 1}: ${band.text}; from ${seconds(band.from_ms)}${until}, ${effect}`);
      entry.label = make('text', { class: 'small fault-text', y: bandsTop + bandRows[index] * BAND + 12, 'pointer-events': 'none' }, plot);
      entry.said = band.text;
      entry.room = () => x(Math.min(Infinity, ...picture.bands.filter((other, place) =>
        bandRows[place] === bandRows[index] && (other.from_ms > band.from_ms || (other.from_ms === band.from_ms && place > index))).map(other => other.from_ms))) - 4;
      if (band.to_ms > band.from_ms) entry.shadow = make('rect', { class: 'shadow', y: lanesTop }, shadows);
      return entry;
    });
    if (bandEntries.length) rows.push(bandEntries);
    for (const lane of picture.lanes) {
      const group = make('g', { class: 'lane', 'data-name': lane.name, 'data-kind': lane.is_worker ? 'worker' : 'node' }, plot);
      const height = lane.rows * ROW + (lane.is_worker ? PHASE : 0);
      make('line', { class: 'lane-line', x1: 0, x2: 100000, y1: y - GAP / 2, y2: y - GAP / 2 }, grid);
      const name = lane.name.length > 20 ? lane.name.slice(0, 19) + '…' : lane.name;
      make('title', {}, make('text', { x: lane.is_worker ? 18 : 4, y: y + 14 }, labels, name), lane.name);
      for (const phase of lane.phases) {
        add(make('rect', { class: 'phase', y, height: height }, group), null, phase.from_ms, phase.to_ms, 0, `${lane.name}: ${phase.name} from ${seconds(phase.from_ms)} until ${seconds(phase.to_ms)}`);
      }
      const entries = lane.bars.map(it => {
        const top = y + it.row * ROW + (lane.is_worker ? PHASE : 0);
        const element = make('rect', { class: 'bar ' + it.look, y: top, height: ROW - 4, rx: 1.5, style: `fill:${paint(it.look)}` }, group);
        const entry = add(element, it, it.from_ms, it.to_ms, 2, `${lane.name}: ${it.text}; from ${seconds(it.from_ms)} until ${seconds(it.to_ms)}`);
        entry.label = make('text', { class: lane.is_worker ? 'on-bar' : 'small', y: top + 12, 'pointer-events': 'none' }, group);
        entry.said = it.label;
        return entry;
      });
      entries.sort((one, other) => one.fromMs - other.fromMs);
      rows.push(entries);
      y += height + GAP;
    }
    const bottom = y;
    const lines = picture.lines.map(line => {
      // What arrives is many and ordinary: a tick at the top, not a line through all that happened.
      const end = line.kind === 'arrival' ? AXIS + 8 : bottom;
      const element = make('line', { class: 'event ' + line.kind, y1: AXIS + 2, y2: end }, plot);
      make('title', {}, element, `${line.text} at ${seconds(line.at_ms)}`);
      return { line, element, label: make('text', { class: 'small soft', y: AXIS + 11 }, plot, line.text) };
    });
    if (picture.broken) {
      const element = make('line', { class: 'broken', y1: AXIS + 2, y2: bottom }, plot);
      const text = `${picture.broken.title} broke at ${seconds(picture.broken.at_ms)}: expected ${picture.broken.expected}; ${picture.broken.happened}`;
      make('title', {}, element, text);
      lines.push({ line: picture.broken, element, broken: text, label: make('text', { class: 'small broken-text', y: bottom + 12 }, plot, '✗ ' + picture.broken.rule + ' broke') });
    }
    const height = bottom + (picture.broken ? 18 : 2);
    svg.setAttribute('height', height);
    clipRect.setAttribute('height', height);
    const counted = (count, what) => `${count} ${what}${count === 1 ? '' : 's'}`;
    const summary = `${counted(picture.lanes.length, 'lane')}, ${counted(picture.bands.length, 'fault')}, ${seconds(picture.until_ms)}`;
    svg.setAttribute('aria-label', 'Timeline: ' + summary);
    const left = picture.left_out ? ` The first ${picture.left_out} cycles are not shown.` : '';
    output.textContent = (lines.find(it => it.broken)?.broken ?? summary) + left;

    const x = ms => GUTTER + (ms - from) / (to - from) * (width - GUTTER - RIGHT);
    const ticks = make('g', {}, grid);
    const layout = () => {
      width = svg.clientWidth || 1000;
      svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
      clipRect.setAttribute('width', Math.max(0, width - GUTTER - RIGHT));
      ticks.replaceChildren();
      const rough = (to - from) / Math.max(2, (width - GUTTER) / 110);
      const power = 10 ** Math.floor(Math.log10(rough));
      const step = [1, 2, 5, 10].map(it => it * power).find(it => it >= rough);
      const digits = Math.min(3, Math.max(0, Math.ceil(-Math.log10(step / 1000))));
      for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
        make('line', { class: 'grid', x1: x(at), x2: x(at), y1: AXIS, y2: bottom }, ticks);
        make('text', { class: 'soft small', x: x(at), y: 13, 'text-anchor': 'middle' }, ticks, (at / 1000).toFixed(digits) + ' s');
      }
      for (const entry of placed) {
        const a = x(entry.fromMs), w = Math.max(entry.least, x(entry.toMs) - a);
        const out = a > width || a + w < GUTTER;
        entry.element.style.display = out ? 'none' : '';
        entry.element.setAttribute('x', a); entry.element.setAttribute('width', w);
        if (entry.shadow) { entry.shadow.setAttribute('x', a); entry.shadow.setAttribute('width', w); entry.shadow.setAttribute('height', bottom - lanesTop); }
        if (entry.label) {
          const at = Math.max(a, GUTTER) + 4;
          // As much of it as there is room for: a bar's own, a fault's until the next one in its row.
          const end = entry.room ? entry.room() : a + w;
          const length = entry.said.length, room = Math.floor((Math.min(end, width) - at) / 6.4);
          const text = room >= length ? entry.said : entry.room && room > 5 ? entry.said.slice(0, room - 1) + '…' : '';
          entry.label.textContent = text;
          entry.label.style.display = out || !text ? 'none' : '';
          entry.label.setAttribute('x', at);
        }
      }
      let free = 0;
      for (const { line, element, label, broken } of lines) {
        const at = x(line.at_ms);
        element.setAttribute('x1', at); element.setAttribute('x2', at);
        const length = label.textContent.length * 6.2, flips = at + length > width;
        label.setAttribute('x', flips ? at - 4 : at + 4);
        label.setAttribute('text-anchor', flips ? 'end' : 'start');
        if (broken) continue;
        const begins = flips ? at - length : at;
        label.style.display = begins < free || at < GUTTER || at > width ? 'none' : '';
        if (label.style.display === '') free = begins + length + 6;
      }
      figure.dataset.from = from; figure.dataset.to = to;
    };
    const show = (a, b) => {
      const span = Math.min(Math.max(b - a, 1), whole);
      from = Math.min(Math.max(a, 0), whole - span); to = from + span;
      layout();
    };
    const zoom = (factor, about) => {
      const centre = about ?? (chosen ? (chosen.fromMs + chosen.toMs) / 2 : (from + to) / 2);
      show(centre - (centre - from) * factor, centre + (to - centre) * factor);
    };
    const move = part => show(from + (to - from) * part, to + (to - from) * part);
    const toBroken = () => {
      const at = picture.broken.at_ms, span = Math.min(whole, Math.max(2000, whole / 20));
      output.textContent = lines.at(-1).broken;
      show(at - span * .7, at + span * .3);
    };
    const say = entry => { output.textContent = entry.text; };
    const choose = entry => {
      if (chosen) chosen.element.classList.remove('chosen');
      chosen = entry; entry.element.classList.add('chosen'); say(entry);
      if (entry.toMs < from || entry.fromMs > to) show(entry.fromMs - (to - from) / 2, entry.fromMs + (to - from) / 2);
    };
    const step = (across, along) => {
      const filled = rows.filter(row => row.length);
      if (!filled.length) return;
      let row = filled.findIndex(it => it.includes(chosen));
      if (row < 0) return choose(filled.at(-1)[0]);
      const at = filled[row].indexOf(chosen);
      if (along) return choose(filled[row][Math.min(Math.max(at + along, 0), filled[row].length - 1)]);
      row = Math.min(Math.max(row + across, 0), filled.length - 1);
      const near = (one, other) => Math.abs(other.fromMs - chosen.fromMs) < Math.abs(one.fromMs - chosen.fromMs) ? other : one;
      choose(filled[row].reduce(near));
    };
    svg.addEventListener('keydown', event => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const keys = event.shiftKey && event.key.startsWith('Arrow')
        ? { ArrowLeft: () => move(-.2), ArrowRight: () => move(.2) }
        : { '+': () => zoom(.5), '=': () => zoom(.5), '-': () => zoom(2), '_': () => zoom(2), 0: () => show(0, whole),
          b: () => picture.broken && toBroken(), ArrowLeft: () => step(0, -1), ArrowRight: () => step(0, 1),
          ArrowUp: () => step(-1, 0), ArrowDown: () => step(1, 0), Home: () => show(0, to - from), End: () => show(whole, whole + to - from) };
      if (keys[event.key]) { keys[event.key](); event.preventDefault(); }
    });
    svg.addEventListener('wheel', event => {
      const ms = from + (event.offsetX - GUTTER) / (width - GUTTER - RIGHT) * (to - from);
      if (event.ctrlKey || event.metaKey) zoom(event.deltaY > 0 ? 1.25 : .8, ms);
      else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) move(event.deltaX / width);
      else return;
      event.preventDefault();
    }, { passive: false });
    let drag = null;
    svg.addEventListener('pointerdown', event => { if (event.button === 0) drag = { x: event.clientX, from, to, moved: false }; });
    svg.addEventListener('pointermove', event => {
      if (!drag) return;
      const by = (drag.x - event.clientX) / (width - GUTTER - RIGHT) * (drag.to - drag.from);
      if (Math.abs(drag.x - event.clientX) < 4 && !drag.moved) return;
      if (!drag.moved) { drag.moved = true; svg.setPointerCapture(event.pointerId); }
      show(drag.from + by, drag.to + by);
    });
    svg.addEventListener('pointerup', () => { drag = null; });
    svg.addEventListener('pointercancel', () => { drag = null; });
    new ResizeObserver(() => { if (svg.clientWidth !== width) layout(); }).observe(svg);
    layout();
  };
  document.querySelectorAll('figure.timeline').forEach(draw);
})();
