"use strict";
/* Players of films: each `.player` holds its films as JSON and is filled with a picture and controls. */
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const SECONDS = 6; // of an episode, unless its frames are few
  const SLOWEST = 250; // milliseconds a frame

  const made = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  const drawn = (name, attributes) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };

  /* An SVG element for a shape; y points upwards in films and downwards in SVG. */
  const element = (shape) => {
    const at = ([x, y]) => `${x},${-y}`;
    const paint = `var(--${shape.colour})`;
    const filled = shape.filled === undefined ? true : shape.filled;
    const area = filled ? { fill: paint } : { fill: "none", stroke: paint, "stroke-width": 2, "vector-effect": "non-scaling-stroke" };
    const seen = { opacity: shape.opacity === undefined ? 1 : shape.opacity };
    if (shape.kind === "line") {
      const stroke = { fill: "none", stroke: paint, "stroke-width": shape.width, "stroke-linecap": "round", "stroke-linejoin": "round" };
      return drawn("polyline", { points: shape.points.map(at).join(" "), ...stroke, ...seen });
    }
    if (shape.kind === "disc") {
      return drawn("circle", { cx: shape.centre[0], cy: -shape.centre[1], r: shape.radius, ...area, ...seen });
    }
    if (shape.kind === "polygon") {
      return drawn("polygon", { points: shape.points.map(at).join(" "), ...area, ...seen });
    }
    const text = drawn("text", { x: shape.at[0], y: -shape.at[1], "font-size": shape.size, "text-anchor": "middle", "dominant-baseline": "central", style: `fill: ${paint}`, ...seen });
    text.textContent = shape.text;
    return text;
  };

  const numbers = (task) => Object.entries(task).map(([name, value]) => `${name} ${JSON.stringify(value)}`).join(" · ");

  class Player {
    constructor(root, index) {
      this.films = JSON.parse(root.querySelector("script").textContent);
      this.root = root;
      this.film = this.episode = this.frame = 0;
      this.timer = null;
      this.build(index);
      this.choose(0);
      root.addEventListener("keydown", (event) => this.key(event));
    }

    build(index) {
      const button = (text, label, act) => {
        const one = made("button", { type: "button", "aria-label": label }, text);
        one.addEventListener("click", act);
        return one;
      };
      const titles = this.films.map((film, number) => made("option", { value: number }, film.title));
      this.select = made("select", { id: `task-${index}` }, ...titles);
      this.select.addEventListener("change", () => this.choose(Number(this.select.value)));
      this.background = drawn("g", {});
      this.scene = drawn("g", {});
      this.picture = drawn("svg", { role: "img", "aria-label": "the agent in its task" });
      this.picture.append(this.background, this.scene);
      this.caption = made("p", { class: "caption" });
      this.task = made("p", { class: "task" });
      this.episodes = made("div", { class: "row", role: "group", "aria-label": "episode" });
      this.toggle = button("▶", "play", () => (this.timer ? this.pause() : this.play()));
      this.slider = made("input", { type: "range", min: 0, step: 1, "aria-label": "step" });
      this.slider.addEventListener("input", () => { this.pause(); this.show(Number(this.slider.value)); });
      const back = button("‹", "one step back", () => this.step(-1));
      const forth = button("›", "one step forward", () => this.step(1));
      const head = made("div", { class: "row" }, made("label", { for: `task-${index}` }, "task"), this.select);
      const controls = made("div", { class: "row" }, back, this.toggle, forth, this.slider);
      this.root.append(head, this.picture, this.caption, controls, this.episodes, this.task);
    }

    get takes() { return this.films[this.film].episodes; }
    get frames() { return this.takes[this.episode].frames; }

    choose(film) {
      this.pause();
      this.film = film;
      const [x0, y0, x1, y1] = this.films[film].bounds;
      this.picture.setAttribute("viewBox", `${x0} ${-y1} ${x1 - x0} ${y1 - y0}`);
      this.background.replaceChildren(...this.films[film].background.map(element));
      this.episodes.replaceChildren(...this.takes.map((take, number) => {
        const one = made("button", { type: "button" }, `${take.name} `, made("small", {}, take.return.toPrecision(3)));
        one.addEventListener("click", () => this.enter(number));
        return one;
      }));
      this.task.textContent = numbers(this.films[film].task);
      this.enter(0);
    }

    enter(episode) {
      this.episode = Math.max(0, Math.min(episode, this.takes.length - 1));
      [...this.episodes.children].forEach((one, number) => one.setAttribute("aria-pressed", number === this.episode));
      this.slider.max = this.frames.length - 1;
      this.show(0);
    }

    show(frame) {
      this.frame = Math.max(0, Math.min(frame, this.frames.length - 1));
      this.scene.replaceChildren(...this.frames[this.frame].map(element));
      this.slider.value = this.frame;
      const caption = this.takes[this.episode].captions[this.frame];
      this.caption.textContent = `${this.takes[this.episode].name}: ${caption}`;
      this.slider.setAttribute("aria-valuetext", caption);
    }

    step(by) {
      this.pause();
      this.show(this.frame + by);
    }

    /* Plays the episode to its end, and then those after it. */
    play() {
      if (this.atEnd()) this.enter(0);
      const pace = () => Math.min(SLOWEST, (1000 * SECONDS) / this.frames.length);
      const next = () => {
        if (this.atEnd()) { this.pause(); return; }
        if (this.frame < this.frames.length - 1) this.show(this.frame + 1);
        else this.enter(this.episode + 1);
        this.timer = setTimeout(next, pace());
      };
      this.timer = setTimeout(next, pace());
      this.label("❚❚", "pause");
    }

    pause() {
      clearTimeout(this.timer);
      this.timer = null;
      this.label("▶", "play");
    }

    label(text, name) {
      this.toggle.textContent = text;
      this.toggle.setAttribute("aria-label", name);
    }

    atEnd() {
      return this.frame >= this.frames.length - 1 && this.episode >= this.takes.length - 1;
    }

    key(event) {
      if (event.target !== this.root || event.ctrlKey || event.altKey || event.metaKey) return;
      const acts = {
        " ": () => (this.timer ? this.pause() : this.play()),
        ArrowLeft: () => this.step(-1),
        ArrowRight: () => this.step(1),
        Home: () => this.step(-this.frame),
        End: () => this.step(this.frames.length),
        PageUp: () => this.enter(this.episode - 1),
        PageDown: () => this.enter(this.episode + 1),
      };
      if (event.key in acts) {
        event.preventDefault();
        acts[event.key]();
      }
    }
  }

  document.querySelectorAll(".player").forEach((root, index) => new Player(root, index));
})();
