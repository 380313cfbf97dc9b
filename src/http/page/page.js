// The status page. Plain DOM and no library; text goes in as text only, whatever a name says.
'use strict';

const POLL_MS = 2000;
const HISTORY_MS = 15000;
const STALE_MS = 20000;
const OPERATOR = 7;

const byId = (id) => document.getElementById(id);
let state = null;
let past = { at: [], servers: [] };
let session = { offered: false, user: null, level: null, csrf: null };
// Nothing is told to whoever has not logged in.
let closed = false;
let heardAt = 0;
let lastCounts = new Map();
let lastHealth = null;

// -- words --------------------------------------------------------------------

const count = (n) => new Intl.NumberFormat('en').format(n);

function short(n) {
  for (const [unit, size] of [['G', 1e9], ['M', 1e6], ['k', 1e3]]) {
    if (n >= size) return `${(n / size).toFixed(n >= 10 * size ? 0 : 1)} ${unit}`;
  }
  return String(Math.round(n));
}

function span(seconds) {
  const parts = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const at = parts.findIndex(([, size]) => seconds >= size);
  if (at < 0) return '0 s';
  const [unit, size] = parts[at];
  return `${Math.floor(seconds / size)} ${unit}`;
}

// Each with a sign of its own, so that no meaning hangs on colour alone.
const LOOKS = {
  up: ['good', '▲ up'],
  down: ['bad', '▼ down'],
  partly: ['odd', '◐ partly down'],
  unknown: ['odd', '? unknown'],
  draining: ['odd', '◆ draining'],
  disabled: ['odd', '■ disabled'],
  unused: ['', '– not used'],
};

function members(of) {
  const all = [];
  for (const service of state.services) {
    for (const member of service.members) {
      if (member.server === of) all.push({ service, member });
    }
  }
  return all;
}

function healthOf(server) {
  const all = members(server.name);
  const down = all.filter(({ member }) => member.state === 'down');
  const unknown = all.filter(({ member }) => member.state === 'unknown' && member.checks.length > 0);
  let word = 'up';
  if (all.length === 0) word = 'unused';
  else if (down.length === all.length) word = 'down';
  else if (down.length > 0) word = 'partly';
  else if (unknown.length > 0) word = 'unknown';
  const why = down.length > 0 ? down[0].member.why : '';
  const services = down.map(({ service }) => `${service.virtual_server}/${service.service}`);
  return { word, why, services: [...new Set(services)] };
}

// -- making and mending the page -------------------------------------------------

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function badge(word) {
  const [kind, text] = LOOKS[word];
  return make('span', { class: `badge ${kind}` }, text);
}

// Puts these in the place of what is there, unless it says the same: focus and reading place stay.
function put(element, ...children) {
  const next = make('div', {}, ...children);
  if (next.innerHTML !== element.innerHTML) element.replaceChildren(...next.childNodes);
}

// One row for each item, kept while its item is there.
function fill(body, items, keyOf, cells) {
  const old = new Map([...body.children].map((row) => [row.dataset.key, row]));
  items.forEach((item, place) => {
    const key = keyOf(item);
    let row = old.get(key);
    old.delete(key);
    if (!row) row = make('tr', { 'data-key': key });
    const labels = [...body.parentElement.querySelectorAll('thead th')];
    cells(item).forEach((content, column) => {
      let cell = row.children[column];
      if (!cell) {
        const label = labels[column];
        const attributes = column === 0 ? { scope: 'row' } : { 'data-label': label.textContent };
        cell = make(column === 0 ? 'th' : 'td', attributes);
        if (label.classList.contains('number')) cell.classList.add('number');
        row.append(cell);
      }
      put(cell, ...[content].flat());
    });
    if (body.children[place] !== row) body.insertBefore(row, body.children[place] || null);
  });
  for (const row of old.values()) row.remove();
}

function list(element, pairs) {
  put(element, ...pairs.map(([name, value]) => make('div', {}, make('dt', {}, name), make('dd', {}, value))));
}

// -- graphs ---------------------------------------------------------------------

function svg(tag, attributes, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Connections as a line, and when a probe kept the server out as bars.
function sparkline(name) {
  const own = past.servers.find((server) => server.name === name);
  const known = own ? own.connections.filter((value) => value !== null) : [];
  if (known.length < 2) return make('small', {}, 'no history yet');
  const most = Math.max(...known, 1);
  const width = own.connections.length - 1;
  let path = '';
  let apart = true;
  own.connections.forEach((value, x) => {
    if (value === null) {
      apart = true;
      return;
    }
    path += `${apart ? 'M' : 'L'}${x} ${(29 - (28 * value) / most).toFixed(1)}`;
    apart = false;
  });
  const bars = [];
  own.down.forEach((part, x) => {
    if (part > 0) bars.push(svg('rect', { x: x - 0.5, y: (30 - 30 * part).toFixed(1), width: 1, height: (30 * part).toFixed(1) }));
  });
  const minutes = Math.round((width * past.step_seconds) / 60);
  const down = bars.length === 0 ? 'never down' : `down at ${bars.length} of ${known.length} looks`;
  const words = `${name}, the last ${minutes} minutes: ${count(Math.min(...known))} to ${count(most)} connections, ` +
    `${count(known[known.length - 1])} now; ${down}`;
  const title = svg('title', {});
  title.textContent = words;
  return svg('svg', { class: 'spark', viewBox: `0 0 ${width} 30`, preserveAspectRatio: 'none', role: 'img', 'aria-label': words },
    title, ...bars, svg('path', { d: path }));
}

// -- the parts of the page ----------------------------------------------------------

function draw() {
  if (!state) return;
  byId('hostname').textContent = state.hostname;
  const alone = state.pair === null;
  const active = state.role === 'active';
  byId('role').textContent = alone ? 'alone' : active ? 'active' : 'standby';
  byId('role').className = `badge ${active ? 'good' : 'odd'}`;
  document.title = `${state.hostname} (${byId('role').textContent})`;
  byId('warnings').hidden = state.warnings.length === 0;
  put(byId('warning-list'), ...state.warnings.map((warning) => make('li', {}, warning)));
  drawGlance();
  drawPair();
  drawServers();
  drawServices();
  drawPools();
  drawPorts();
  byId('footer').textContent = `lbd ${state.version}, daemon running for ${span(state.uptime_seconds)}, configuration ` +
    `${state.config.revision}${state.config.unsaved ? ', not saved' : ''}`;
  announce();
}

function drawGlance() {
  const active = state.services.reduce((sum, service) => sum + service.connections.active, 0);
  const down = state.servers.filter((server) => ['down', 'partly'].includes(healthOf(server).word));
  const unserved = state.services.filter((service) => !service.members.some((member) => member.scheduled));
  const names = unserved.map((service) => `${service.virtual_server}/${service.service} ${service.family}`);
  const addresses = new Set(state.services.flatMap((service) => service.addresses));
  list(byId('glance'), [
    ['Connections', count(active)],
    ['Servers', down.length === 0 ? `all ${state.servers.length} up` : `▼ ${down.length} of ${state.servers.length} down`],
    ['Services that nobody serves', names.length === 0 ? 'none' : `▼ ${names.join(', ')}`],
    ['Virtual addresses', String(addresses.size)],
    ['Connection table', `${((100 * state.table.entries) / state.table.capacity).toFixed(1)} % of ${short(state.table.capacity)}`],
  ]);
}

function drawPair() {
  const pair = state.pair;
  byId('pair').hidden = pair === null;
  if (pair === null) return;
  const peer = pair.peer;
  const answers = pair.peer_answered_seconds;
  const dead = answers !== null && answers !== undefined && answers < 5 ? '▼ its daemon is dead, its data plane is not' : '▼ silent';
  const heard = peer && peer.heard_seconds < 5;
  const paths = pair.paths.map((path) => `${path.name} ${path.alive ? '▲' : '▼ silent'}`);
  list(byId('pair-list'), [
    ['This box', `${pair.state}${pair.owns ? ', owns the virtual addresses' : ''}`],
    ['The other box', heard ? `${peer.state}${peer.owns ? ', owns the virtual addresses' : ''}` : dead],
    ['Could take over', pair.owns ? (heard && peer.ready ? '▲ the other box' : '▼ nobody') : pair.ready ? '▲ this box' : `▼ not this box: ${pair.unready}`],
    ['Heartbeats', paths.join(', ')],
    ...(pair.peer_release && pair.peer_release !== state.version
      ? [['Versions', `▼ ${state.version} here, ${pair.peer_release} on the other box`]]
      : []),
    ['Configuration', pair.config.standing === 'same' ? '▲ the same' : `▼ ${pair.config.standing}`],
  ]);
}

function drawServers() {
  fill(byId('server-rows'), state.servers, (server) => server.name, (server) => {
    const health = healthOf(server);
    const signs = [badge(health.word)];
    if (server.admin !== 'enabled') signs.push(' ', badge(server.admin));
    if (health.services.length > 0) signs.push(make('small', {}, `${health.services.join(', ')}: ${health.why}`));
    const addresses = [server.address, server.address6].filter((address) => address !== null).join(', ');
    const limit = server.max_connections > 0 ? make('small', {}, `of ${count(server.max_connections)}`) : null;
    return [
      [server.name, make('small', {}, addresses)],
      signs,
      [count(server.connections), limit],
      sparkline(server.name),
      actions(server),
    ];
  });
}

function actions(server) {
  const order = state.orders.find((one) => one.server === server.name && one.pool === null);
  const parts = [];
  if (order && order.admin === 'draining') {
    parts.push(make('small', {}, order.finished ? 'drained: nothing is left' : `${count(order.connections)} of ${count(order.connections_at_begin)} connections left`));
  }
  if (session.user && session.level >= OPERATOR) {
    const what = server.admin === 'enabled' ? 'drain' : 'enable';
    const label = what === 'drain' ? 'Drain' : 'Enable';
    parts.push(make('button', { type: 'button', 'data-order': what, 'data-server': server.name, 'aria-label': `${label} ${server.name}` }, label));
  }
  return parts.length > 0 ? parts : ['–'];
}

function drawServices() {
  const key = (service) => `${service.virtual_server}/${service.service}/${service.family}`;
  fill(byId('service-rows'), state.services, key, (service) => {
    const each = service.members.map((member) => {
      const word = member.admin !== 'enabled' ? member.admin : member.state === 'up' || member.checks.length === 0 ? 'up' : member.state;
      const [kind, text] = LOOKS[word];
      const idle = member.scheduled || word !== 'up' ? '' : ', idle';
      return make('li', { class: `badge ${kind}`, title: member.why }, `${member.server} ${text}${idle}`);
    });
    return [
      [`${service.virtual_server}/${service.service}`, make('small', {}, `${service.protocol} ${service.ports}, ${service.mode}`)],
      service.addresses.join(', '),
      service.pool,
      count(service.connections.active),
      make('ul', { class: 'members' }, ...each),
    ];
  });
}

function drawPools() {
  fill(byId('pool-rows'), state.pools, (pool) => pool.name, (pool) => {
    const up = pool.members_up;
    const few = up !== null && (up === 0 || up < pool.members_min);
    const words = up === null ? `${pool.members.length} members, stands behind others` : `${few ? '▼ ' : ''}${up} of ${pool.members.length}`;
    const least = pool.members_min > 1 ? make('small', {}, `at least ${pool.members_min}`) : null;
    return [pool.name, [few ? make('span', { class: 'badge bad' }, words) : words, least], pool.check, pool.services.join(', ') || 'nobody'];
  });
}

function drawPorts() {
  const now = performance.now();
  fill(byId('port-rows'), state.interfaces, (port) => port.name, (port) => {
    let known = lastCounts.get(port.name);
    const moved = !known || known.received !== port.received.bytes || known.sent !== port.sent.bytes;
    if (moved) {
      const seconds = known ? (now - known.at) / 1000 : 0;
      const rate = (after, before) => (seconds > 0.2 && after >= before ? (8 * (after - before)) / seconds : null);
      known = {
        at: now,
        received: port.received.bytes,
        sent: port.sent.bytes,
        rateIn: known ? rate(port.received.bytes, known.received) : null,
        rateOut: known ? rate(port.sent.bytes, known.sent) : null,
      };
      lastCounts.set(port.name, known);
    }
    const told = (rate) => (rate === null ? '–' : short(rate));
    const lost = port.received.errors + port.sent.errors + port.received.dropped + port.sent.dropped + port.lost_after_redirect;
    return [
      port.name,
      [port.forwarding ? badge('up') : make('span', { class: 'badge odd' }, '◻ blocked or down'), make('small', {}, `XDP ${port.xdp}`)],
      told(known.rateIn),
      told(known.rateOut),
      count(lost),
    ];
  });
}

// What has changed of the servers' health, for who listens instead of looking.
function announce() {
  const now = new Map(state.servers.map((server) => [server.name, healthOf(server).word]));
  if (lastHealth) {
    const news = [...now].filter(([name, word]) => lastHealth.has(name) && lastHealth.get(name) !== word);
    if (news.length > 0) {
      const words = news.map(([name, word]) => `${name} is ${LOOKS[word][1].slice(2)}`);
      byId('changes').textContent = words.join('; ');
    }
  }
  lastHealth = now;
}

// -- what comes from the daemon ---------------------------------------------------------

function heard() {
  // A daemon that was restarted knows no session from before.
  if (state && isSilent()) whoAmI();
  heardAt = performance.now();
  showLink();
}

const isSilent = () => heardAt === 0 || performance.now() - heardAt > STALE_MS;

function showLink() {
  const silent = isSilent();
  document.body.classList.toggle('stale', silent && state !== null);
  document.querySelector('main').hidden = closed;
  const link = byId('link');
  const words = closed ? 'log in to see the site' : silent ? '▼ no answer from the daemon; trying again' : '▲ live';
  if (link.textContent !== words) link.textContent = words;
  link.className = `badge ${closed ? 'odd' : silent ? 'bad' : 'good'}`;
}

const NAMES = {
  services: ['virtual_server', 'service', 'family'],
  pools: ['name'],
  servers: ['name'],
  orders: ['server', 'pool'],
  interfaces: ['name'],
  packets: ['verdict', 'reason'],
};

// A part of the state: lists by the names of their elements, the rest whole.
function mend(change) {
  for (const [key, value] of Object.entries(change)) {
    const names = NAMES[key];
    if (key === 'removed') {
      for (const [of, gone] of Object.entries(value)) {
        const is = (one) => gone.some((name) => NAMES[of].every((part) => (name[part] ?? null) === (one[part] ?? null)));
        state[of] = state[of].filter((one) => !is(one));
      }
    } else if (names && Array.isArray(state[key])) {
      for (const one of value) {
        const at = state[key].findIndex((old) => names.every((part) => (old[part] ?? null) === (one[part] ?? null)));
        if (at < 0) state[key].push(one);
        else state[key][at] = one;
      }
    } else {
      state[key] = value;
    }
  }
}

let source = null;

// Events where they are offered, else by asking again and again.
function listen() {
  if (source) return;
  const own = new EventSource('/api/v1/changes');
  source = own;
  source.addEventListener('snapshot', (event) => {
    state = JSON.parse(event.data);
    closed = false;
    heard();
    draw();
  });
  source.addEventListener('state', (event) => {
    if (!state) return;
    mend(JSON.parse(event.data));
    heard();
    draw();
  });
  source.addEventListener('open', heard);
  source.addEventListener('error', () => {
    if (source !== own) return;
    // The browser itself comes back after a break; not after an answer that is none.
    if (own.readyState === EventSource.CLOSED) {
      source = null;
      setTimeout(listen, 5 * POLL_MS);
    }
    lost();
  });
}

function lost() {
  heardAt = Math.min(heardAt, performance.now() - STALE_MS - 1);
  showLink();
}

async function ask(path, options) {
  const answer = await fetch(path, { ...options, signal: AbortSignal.timeout(10000) });
  const kind = answer.headers.get('content-type') || '';
  const body = kind.includes('json') ? await answer.json() : null;
  return { status: answer.status, body };
}

// Beside the events: they do not tell what only goes on with time, and may not be offered at all.
async function look() {
  try {
    if (!document.hidden || !state) {
      const { status, body } = await ask('/api/v1/state', {});
      if (status === 200) {
        state = body;
        closed = false;
        heard();
        draw();
      } else if (status === 401) {
        session = { ...session, offered: true, user: null };
        state = null;
        closed = true;
        drawAccount();
        showLink();
      }
    }
  } catch {
    lost();
  }
}

async function poll() {
  const events = source !== null && source.readyState === EventSource.OPEN;
  await look();
  setTimeout(poll, events ? 5 * POLL_MS : POLL_MS);
}

async function pollHistory() {
  try {
    if (!document.hidden) {
      const { status, body } = await ask('/api/v1/history', {});
      if (status === 200) {
        past = body;
        draw();
      }
    }
  } catch {
    // The next one may come.
  }
  setTimeout(pollHistory, past.at.length > 1 ? HISTORY_MS : POLL_MS);
}

// -- who looks, and what he orders --------------------------------------------------------

async function whoAmI() {
  try {
    const { status, body } = await ask('/api/v1/session', {});
    if (status === 200) session = { offered: true, user: body.user, level: body.level, csrf: body.csrf };
    else session = { ...session, offered: status !== 404, user: null };
  } catch {
    return;
  }
  drawAccount();
  draw();
}

function drawAccount() {
  const account = byId('account');
  if (!session.offered) {
    put(account);
    return;
  }
  if (session.user) {
    const button = make('button', { type: 'button', id: 'logout' }, 'Log out');
    put(account, `${session.user} `, button);
    return;
  }
  if (account.querySelector('form')) return;
  const field = (name, label, kind, fill) => make('label', {}, label, make('input', { name, type: kind, autocomplete: fill, required: '', maxlength: '256' }));
  put(account, make('form', { id: 'login' },
    field('user', 'User', 'text', 'username'), field('password', 'Password', 'password', 'current-password'),
    make('button', { type: 'submit' }, 'Log in')));
}

async function post(path, body) {
  const headers = { 'Content-Type': 'application/json' };
  if (session.csrf) headers['X-CSRF-Token'] = session.csrf;
  return ask(path, { method: 'POST', headers, body: JSON.stringify(body) });
}

// Asks the operator; the promise tells whether he said yes.
function confirmed(title, text, yes) {
  const dialog = byId('ask');
  byId('ask-title').textContent = title;
  byId('ask-text').textContent = text;
  byId('ask-yes').textContent = yes;
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}

async function order(what, server) {
  const drain = what === 'drain';
  const text = drain
    ? `${server} gets no new connections. Those that it has go on until their end.`
    : `${server} gets new connections again.`;
  if (!(await confirmed(`${drain ? 'Drain' : 'Enable'} ${server}?`, text, drain ? 'Drain' : 'Enable'))) return;
  try {
    let { status, body } = await post(`/api/v1/servers/${encodeURIComponent(server)}/${what}`, {});
    if (status === 409 && drain && await confirmed(`Drain ${server} all the same?`, body.detail, 'Drain all the same')) {
      ({ status, body } = await post(`/api/v1/servers/${encodeURIComponent(server)}/${what}`, { force: true }));
    }
    if (status === 200) say(`${server}: ${body.before}, now ${body.state}`);
    else if (status !== 409) say(body ? body.detail : `the daemon answered ${status}`);
    if (status === 401 || status === 403) await whoAmI();
  } catch {
    say('No answer from the daemon; the order may have been carried out or not.');
  }
}

function say(words) {
  byId('said').textContent = words;
}

document.addEventListener('submit', async (event) => {
  if (event.target.id !== 'login') return;
  event.preventDefault();
  const form = event.target;
  const button = form.querySelector('button');
  button.disabled = true;
  try {
    const { status, body } = await post('/api/v1/login', { user: form.elements.user.value, password: form.elements.password.value });
    if (status === 200) {
      session = { offered: true, user: body.user, level: body.level, csrf: body.csrf };
      drawAccount();
      draw();
      await look();
      listen();
    } else {
      form.elements.password.value = '';
      form.elements.password.setCustomValidity(body ? body.detail : 'The login was refused.');
      form.elements.password.reportValidity();
    }
  } catch {
    say('No answer from the daemon.');
  }
  button.disabled = false;
});

document.addEventListener('input', (event) => {
  if (event.target.name === 'password') event.target.setCustomValidity('');
});

document.addEventListener('click', async (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  if (button.dataset.order) await order(button.dataset.order, button.dataset.server);
  if (button.id === 'logout') {
    try {
      await post('/api/v1/logout', {});
    } catch {
      // It ends by itself.
    }
    // What is shown from now on is what everybody is shown.
    if (source) source.close();
    source = null;
    await whoAmI();
    await look();
    listen();
  }
});

setInterval(showLink, 1000);
whoAmI();
listen();
poll();
pollHistory();
