// Adds sorting, filtering, choice of columns, hovering and themes to a page that is complete without them. State lives in
// the address's fragment (key=value pairs), so that a view can be sent to someone. No network, no storage.
(function () {
  'use strict';
  var doc = document, root = doc.documentElement;
  var tables = [], applying = false;

  function read() {
    var state = {};
    location.hash.slice(1).split('&').forEach(function (part) {
      var at = part.indexOf('=');
      if (at < 1) return;
      try { state[part.slice(0, at)] = decodeURIComponent(part.slice(at + 1)); } catch (error) { /* not ours */ }
    });
    return state;
  }
  var state = read();
  function set(key, value) {
    if (value === '') delete state[key]; else state[key] = value;
    if (applying) return;
    var text = Object.keys(state).sort().map(function (k) { return k + '=' + encodeURIComponent(state[k]); }).join('&');
    history.replaceState(null, '', '#' + text);
  }
  function make(tag, attributes, text) {
    var element = doc.createElement(tag);
    Object.keys(attributes || {}).forEach(function (name) { element.setAttribute(name, attributes[name]); });
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // Theme: as the system has it, light, dark.
  var themes = ['', 'light', 'dark'], themeButton = make('button', { type: 'button', 'class': 'plain theme' });
  function applyTheme() {
    var theme = themes.indexOf(state.theme) > 0 ? state.theme : '';
    if (theme) root.setAttribute('data-theme', theme); else root.removeAttribute('data-theme');
    themeButton.textContent = 'Theme: ' + (theme || 'system');
  }
  themeButton.addEventListener('click', function () {
    set('theme', themes[(themes.indexOf(state.theme || '') + 1) % themes.length]);
    applyTheme();
  });
  doc.querySelector('header.top').prepend(themeButton);

  // Links within the page keep the state in the address.
  doc.querySelectorAll('a[href^="#"]').forEach(function (link) {
    link.addEventListener('click', function (event) {
      var target = doc.getElementById(link.getAttribute('href').slice(1));
      if (!target) return;
      event.preventDefault();
      target.scrollIntoView();
      target.setAttribute('tabindex', '-1');
      target.focus({ preventScroll: true });
    });
  });

  // Copying commands.
  doc.querySelectorAll('.cmd').forEach(function (box) {
    var button = make('button', { type: 'button', 'aria-label': 'Copy this command' }, 'Copy');
    button.addEventListener('click', function () {
      var code = box.querySelector('code');
      function done() { button.textContent = 'Copied'; setTimeout(function () { button.textContent = 'Copy'; }, 1500); }
      function choose() {
        var range = doc.createRange();
        range.selectNodeContents(code);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
      }
      if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(done, choose); else choose();
    });
    box.appendChild(button);
  });

  // Tables.
  function numberOf(cell) { return cell.hasAttribute('data-v') ? parseFloat(cell.getAttribute('data-v')) : NaN; }
  function compare(a, b, sign) {
    var x = numberOf(a), y = numberOf(b);
    if (!isNaN(x) || !isNaN(y)) return isNaN(x) ? 1 : isNaN(y) ? -1 : sign * (x - y);
    var s = a.textContent, t = b.textContent;
    if (!s || !t) return (s ? 0 : 1) - (t ? 0 : 1);
    return sign * s.localeCompare(t, 'en', { numeric: true });
  }
  function Table(table) {
    var self = this;
    this.table = table;
    this.id = table.id;
    this.body = table.tBodies[0];
    this.rows = Array.prototype.slice.call(this.body.rows);
    this.heads = Array.prototype.slice.call(table.tHead.rows[0].cells);
    this.names = this.heads.map(function (head) { return head.getAttribute('data-c'); });
    this.titles = this.heads.map(function (head) { return head.firstChild.textContent.trim().toLowerCase(); });
    this.standard = this.names.filter(function (name, i) { return !self.heads[i].hasAttribute('data-extra'); });
    this.words = this.rows.map(function (row) { return row.textContent.toLowerCase(); });
    this.tools();
    this.heads.forEach(function (head, i) {
      var button = make('button', { type: 'button' });
      while (head.firstChild) button.appendChild(head.firstChild);
      head.appendChild(button);
      button.addEventListener('click', function () {
        var now = state[self.id + '.sort'] || '', name = self.names[i];
        set(self.id + '.sort', now === name ? '-' + name : now === '-' + name ? '' : name);
        self.sort();
      });
    });
  }
  Table.prototype.tools = function () {
    var self = this, bar = make('div', { 'class': 'tools' });
    var label = make('label', {}, 'Filter');
    this.input = make('input', { type: 'search', placeholder: 'aqlm bits<3 kl<=0.2', 'aria-describedby': this.id + '-help' });
    label.appendChild(this.input);
    this.count = make('span', { role: 'status', 'class': 'muted' });
    var help = make('span', { id: this.id + '-help', 'class': 'muted' }, 'words, or column<number; all must hold');
    var reset = make('button', { type: 'button', 'class': 'plain' }, 'Reset');
    [label, this.count, help, reset].forEach(function (e) { bar.appendChild(e); });
    this.input.addEventListener('input', function () { set(self.id + '.q', self.input.value); self.filter(); });
    reset.addEventListener('click', function () {
      ['sort', 'q', 'cols'].forEach(function (key) { set(self.id + '.' + key, ''); });
      self.apply();
    });
    var details = make('details'), box = make('div', { 'class': 'columns' });
    details.appendChild(make('summary', {}, 'Columns'));
    this.boxes = this.names.map(function (name, i) {
      var one = make('label'), check = make('input', { type: 'checkbox' });
      check.addEventListener('change', function () {
        var shown = self.names.filter(function (n, j) { return self.boxes[j].checked; });
        set(self.id + '.cols', shown.join() === self.standard.join() ? '' : shown.join() || '-');
        self.columns();
      });
      one.appendChild(check);
      one.appendChild(doc.createTextNode(' ' + self.heads[i].firstChild.textContent.trim()));
      box.appendChild(one);
      return check;
    });
    details.appendChild(box);
    var at = this.table.parentNode;
    at.parentNode.insertBefore(bar, at);
    at.parentNode.insertBefore(details, at);
  };
  Table.prototype.apply = function () {
    this.input.value = state[this.id + '.q'] || '';
    this.sort();
    this.filter();
    this.columns();
  };
  Table.prototype.sort = function () {
    var key = state[this.id + '.sort'] || '', sign = key.charAt(0) === '-' ? -1 : 1;
    var index = this.names.indexOf(key.replace(/^-/, '')), rows = this.rows.slice();
    this.heads.forEach(function (head, i) {
      if (i === index) head.setAttribute('aria-sort', sign > 0 ? 'ascending' : 'descending');
      else head.removeAttribute('aria-sort');
    });
    if (index >= 0) rows.sort(function (a, b) { return compare(a.cells[index], b.cells[index], sign); });
    this.table.classList.toggle('sorted', index >= 0);
    var piece = doc.createDocumentFragment();
    rows.forEach(function (row) { piece.appendChild(row); });
    this.body.appendChild(piece);
  };
  Table.prototype.filter = function () {
    var self = this, shown = 0, off = {};
    var terms = (state[this.id + '.q'] || '').toLowerCase().split(/\s+/).filter(Boolean).map(function (word) {
      var m = /^([^<>=]+)(<=|>=|<|>|=)(.*)$/.exec(word), column = -1;
      if (m) {
        column = self.names.indexOf(m[1]);
        if (column < 0) column = self.titles.indexOf(m[1]);
        if (column < 0) column = self.names.findIndex(function (n) { return n.indexOf(m[1]) >= 0; });
      }
      return column < 0 ? { word: word } : { column: column, op: m[2], text: m[3], number: parseFloat(m[3]) };
    });
    this.rows.forEach(function (row, i) {
      var keep = terms.every(function (t) {
        if (t.word !== undefined) return self.words[i].indexOf(t.word) >= 0;
        var cell = row.cells[t.column], v = numberOf(cell);
        if (t.op === '=') return cell.textContent.toLowerCase() === t.text || v === t.number;
        if (isNaN(t.number)) return true;
        return t.op === '<' ? v < t.number : t.op === '<=' ? v <= t.number : t.op === '>' ? v > t.number : v >= t.number;
      });
      row.hidden = !keep;
      if (keep) shown += 1; else off[row.getAttribute('data-k')] = true;
    });
    this.count.textContent = shown + ' of ' + this.rows.length;
    doc.querySelectorAll('.m[data-k^="' + this.id.replace('-trials', 'e') + '"]').forEach(function (mark) {
      mark.classList.toggle('off', off[mark.getAttribute('data-k')] === true);
    });
  };
  Table.prototype.columns = function () {
    var text = state[this.id + '.cols'], shown = text ? text.split(',') : this.standard, self = this;
    this.names.forEach(function (name, i) {
      var hide = shown.indexOf(name) < 0;
      self.boxes[i].checked = !hide;
      self.heads[i].hidden = hide;
      self.rows.forEach(function (row) { row.cells[i].hidden = hide; });
    });
  };
  doc.querySelectorAll('table.trials').forEach(function (table) { tables.push(new Table(table)); });

  // Hovering and keyboard in pictures.
  var tip = make('div', { id: 'tip', hidden: '' }), live = make('div', { 'class': 'vh', 'aria-live': 'polite' });
  doc.body.appendChild(tip);
  doc.body.appendChild(live);
  var tips = new WeakMap();
  function text(mark) { return tips.get(mark) || ''; }
  function highlight(key, on) {
    if (!key) return;
    doc.querySelectorAll('[data-k="' + CSS.escape(key) + '"]').forEach(function (e) { e.classList.toggle('hot', on); });
  }
  function show(mark, x, y) {
    tip.textContent = text(mark);
    tip.hidden = false;
    var box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 6)) + 'px';
    tip.style.top = (y + 18 + box.height > innerHeight ? Math.max(4, y - box.height - 10) : y + 18) + 'px';
  }
  function hide() { tip.hidden = true; }
  doc.querySelectorAll('svg.plot').forEach(function (svg) {
    var marks = [], at = -1;
    svg.querySelectorAll('title').forEach(function (title) {
      var mark = title.parentNode;
      tips.set(mark, title.textContent);
      title.remove();
      marks.push(mark);
    });
    if (!marks.length) return;
    svg.addEventListener('pointermove', function (event) {
      if (tips.has(event.target)) show(event.target, event.clientX, event.clientY); else hide();
    });
    svg.addEventListener('pointerleave', hide);
    svg.addEventListener('pointerover', function (event) { highlight(event.target.getAttribute('data-k'), true); });
    svg.addEventListener('pointerout', function (event) { highlight(event.target.getAttribute('data-k'), false); });
    svg.setAttribute('tabindex', '0');
    svg.setAttribute('aria-description', 'Arrow keys go from mark to mark.');
    function go(to) {
      if (at >= 0) { marks[at].classList.remove('hot'); highlight(marks[at].getAttribute('data-k'), false); }
      at = to;
      if (at < 0) { hide(); return; }
      var box = marks[at].getBoundingClientRect();
      marks[at].classList.add('hot');
      highlight(marks[at].getAttribute('data-k'), true);
      show(marks[at], box.right - 8, box.bottom - 8);
      live.textContent = text(marks[at]);
    }
    svg.addEventListener('keydown', function (event) {
      var step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step) { event.preventDefault(); go((at + step + marks.length) % marks.length); }
      if (event.key === 'Escape') go(-1);
    });
    svg.addEventListener('blur', function () { go(-1); });
  });
  doc.querySelectorAll('table.trials tr[data-k]').forEach(function (row) {
    row.addEventListener('pointerenter', function () { highlight(row.getAttribute('data-k'), true); });
    row.addEventListener('pointerleave', function () { highlight(row.getAttribute('data-k'), false); });
  });

  function applyAll() {
    applying = true;
    applyTheme();
    tables.forEach(function (table) { table.apply(); });
    applying = false;
  }
  addEventListener('hashchange', function () {
    if (location.hash.indexOf('=') > 0 || location.hash.length < 2) { state = read(); applyAll(); }
  });
  applyAll();
}());
