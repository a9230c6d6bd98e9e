"use strict";

// The player: one film holds all streams as tiles, so that no stream can be ahead of another.
function startPlayer(player) {
  const film = document.getElementById("film");
  const [pairs, fps, width, height] = ["pairs", "fps", "width", "height"].map((name) => Number(player.dataset[name]));
  const [play, scrub, where, speed, mode, amount, registration] = ["play", "scrub", "where", "speed", "mode", "amount", "registration"].map((id) => document.getElementById(id));
  const panels = [...player.querySelectorAll("canvas[data-tile]")];
  const layer = Object.assign(document.createElement("canvas"), { width, height });
  let pair = 0;
  let isAhead = false; // a pair was asked for while the film was still looking for another

  const tile = (number) => [(number % 3) * width, Math.floor(number / 3) * height, width, height];
  const draw = (context, number, x = 0, y = 0, w = width, h = height) => {
    const [left, top] = tile(number);
    context.drawImage(film, left + x, top + y, w, h, x, y, w, h);
  };

  function tinted(number, colour) {
    const context = layer.getContext("2d");
    context.globalCompositeOperation = "source-over";
    context.filter = "grayscale(1)";
    draw(context, number);
    context.filter = "none";
    context.globalCompositeOperation = "multiply";
    context.fillStyle = colour;
    context.fillRect(0, 0, width, height);
    return layer;
  }

  const comparisons = {
    checkerboard(context, share) {
      const side = Math.max(6, Math.round(width / (2 + share * 22)));
      draw(context, 1);
      for (let y = 0; y < height; y += side)
        for (let x = 0; x < width; x += side)
          if ((x / side + y / side) % 2 === 0) draw(context, 0, x, y, Math.min(side, width - x), Math.min(side, height - y));
    },
    wipe(context, share) {
      const edge = Math.round(share * width);
      draw(context, 1);
      if (edge > 0) draw(context, 0, 0, 0, edge, height);
      context.fillStyle = "#fff";
      context.fillRect(edge - 1, 0, 2, height);
    },
    blink(context, share) {
      const period = 150 + share * 1500;
      draw(context, Math.floor(performance.now() / period) % 2);
    },
    colours(context, share) {
      context.globalAlpha = Math.min(1, 2 * (1 - share));
      context.drawImage(tinted(0, "#ff0000"), 0, 0);
      context.globalCompositeOperation = "lighter";
      context.globalAlpha = Math.min(1, 2 * share);
      context.drawImage(tinted(1, "#00ffff"), 0, 0);
      context.globalCompositeOperation = "source-over";
      context.globalAlpha = 1;
    },
    difference(context, share) {
      context.filter = `brightness(${1 + 9 * share})`;
      draw(context, 5);
      context.filter = "none";
    },
  };

  function compare() {
    const context = registration.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    comparisons[mode.value](context, Number(amount.value) / 100);
    registration.dataset.drawn = `${mode.value} ${amount.value}`;
  }

  function show() {
    pair = Math.min(pairs - 1, Math.max(0, Math.floor(film.currentTime * fps + 1e-3)));
    for (const panel of panels) draw(panel.getContext("2d"), Number(panel.dataset.tile));
    compare();
    scrub.value = pair;
    where.value = `pair ${pair} of ${pairs} · ${(pair / fps).toFixed(2)} s`;
  }

  function go(number) {
    pair = Math.min(pairs - 1, Math.max(0, number));
    film.pause();
    if (film.seeking) isAhead = true;
    else film.currentTime = (pair + 0.5) / fps;
  }

  function toggle() {
    if (!film.paused) film.pause();
    else {
      if (pair >= pairs - 1) film.currentTime = 0.5 / fps;
      film.play();
    }
  }

  function tick() {
    if (!film.paused) show();
    else if (mode.value === "blink") compare();
    requestAnimationFrame(tick);
  }

  film.addEventListener("loadeddata", () => go(0));
  film.addEventListener("seeked", () => {
    if (isAhead) {
      isAhead = false;
      film.currentTime = (pair + 0.5) / fps;
    } else show();
  });
  for (const event of ["play", "pause", "ended"]) film.addEventListener(event, () => (play.textContent = film.paused ? "play" : "pause"));
  play.addEventListener("click", toggle);
  document.getElementById("back").addEventListener("click", () => go(pair - 1));
  document.getElementById("on").addEventListener("click", () => go(pair + 1));
  scrub.addEventListener("input", () => go(Number(scrub.value)));
  speed.addEventListener("change", () => (film.playbackRate = Number(speed.value)));
  mode.addEventListener("change", compare);
  amount.addEventListener("input", compare);

  const keys = {
    " ": toggle,
    ArrowLeft: () => go(pair - 1),
    ArrowRight: () => go(pair + 1),
    Home: () => go(0),
    End: () => go(pairs - 1),
    ArrowUp: () => slide(5),
    ArrowDown: () => slide(-5),
  };
  function slide(by) {
    amount.value = Number(amount.value) + by;
    compare();
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const isTyping = event.target.matches("input[type=search], input[type=text], textarea");
    const isChoosing = event.target.matches("select, input[type=range]") && event.key.startsWith("Arrow");
    if (isTyping || isChoosing || (event.key === " " && event.target.matches("button, select"))) return;
    if (/^[1-5]$/.test(event.key)) {
      mode.selectedIndex = Number(event.key) - 1;
      compare();
    } else if (event.key in keys) keys[event.key]();
    else return;
    event.preventDefault();
  });
  if (film.readyState >= 2) go(0);
  tick();
}

function startFilters(form) {
  const cards = [...document.querySelectorAll(".card")];
  const find = document.getElementById("find");
  const worrying = document.getElementById("worrying");
  function filter() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const splits = [...form.querySelectorAll("input[name=split]:checked")].map((box) => box.value);
    let shown = 0;
    for (const card of cards) {
      const isShown = splits.includes(card.dataset.split) && words.every((word) => card.dataset.words.includes(word)) && (!worrying.checked || card.dataset.concerns !== "0");
      card.hidden = !isShown;
      shown += isShown;
    }
    document.getElementById("shown").value = `${shown} of ${cards.length}`;
  }
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
}

const player = document.getElementById("player");
if (player) startPlayer(player);
const filters = document.getElementById("filters");
if (filters) startFilters(filters);
