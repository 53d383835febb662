/**
 * The socket of this tab. Frames are painted in one animation frame and then acknowledged, every
 * fifth round with all before it; the server sends the newest and skips what we were too slow for.
 * Whether the stream lives is one truth, how old the data are another: this module tells only the
 * first.
 */

import { paintSoon } from "./paint.js";

const RETRY_S = [0.25, 0.5, 1, 2, 5];
const SILENT_MS = 2_500;
const WATCH_MS = 250; // with SILENT_MS: silence is told within three seconds
const HIDDEN_CLOSE_MS = 60_000;
const POLL_MS = 2_000;
const ACK_EVERY = 5; // rounds of the server, which knows; what is acknowledged is all up to a frame

const FROZEN = "frozen by you";
const WORDS = { 1012: "restarting", 1013: "too many tabs" }; // by the code of a close

function askToLogIn() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
}

export class Stream {
  constructor(topics, build, on) {
    this.topics = topics;
    this.build = build;
    this.on = on; // { frame(message), state(name, words) }
    this.tries = 0;
    this.acked = 0;
    this.isFrozen = false;
    this.pending = null;
    this.heardAt = 0;
    this.watchedAt = 0;
    this.frames = [];
    document.addEventListener("visibilitychange", () => this.onVisibility());
    window.addEventListener("pagehide", () => this.socket && this.socket.close());
    setInterval(() => this.watch(), WATCH_MS);
    this.connect();
  }

  connect() {
    clearTimeout(this.retry);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(`${scheme}//${location.host}/ui/stream`);
    const socket = this.socket;
    socket.onopen = () => {
      this.tries = 0;
      this.isTried = false;
      this.acked = 0; // a server that was started anew counts anew
      this.heardAt = performance.now();
      this.say({ sub: this.topics });
      if (!this.isFrozen) return;
      this.say({ pause: true });
      this.on.state("frozen", FROZEN);
    };
    socket.onmessage = (event) => socket === this.socket && this.take(JSON.parse(event.data));
    socket.onclose = (event) => socket === this.socket && this.lost(event.code);
  }

  get isOpen() {
    return Boolean(this.socket) && this.socket.readyState === WebSocket.OPEN;
  }

  say(message) {
    if (this.isOpen) this.socket.send(JSON.stringify(message));
  }

  take(message) {
    this.heardAt = performance.now();
    if (message.hello) {
      if (message.hello.build !== this.build) this.on.state("outdated", "Reload");
      return;
    }
    this.frames = this.frames.filter((at) => this.heardAt - at < 1_000);
    this.frames.push(this.heardAt);
    if (!this.isFrozen) this.on.state("live", `live ${Math.min(this.frames.length, 10)} Hz`);
    // A topic that came in an unpainted frame and not in this one must not be lost.
    const before = this.pending ? this.pending.d : {};
    const isIdle = this.pending === null;
    this.pending = { ...message, d: { ...before, ...message.d } };
    if (isIdle) paintSoon(this);
  }

  paint() {
    const message = this.pending;
    this.pending = null;
    if (!this.isFrozen) this.on.frame(message);
    if (message.n - this.acked < ACK_EVERY) return;
    this.acked = message.n;
    this.say({ ack: message.n });
  }

  lost(code) {
    if (code === 4401) {
      askToLogIn();
      return;
    }
    if (this.isClosed) return;
    this.on.state("down", WORDS[code] || "Disconnected");
    if (this.tries >= 3) this.poll();
    const wait = RETRY_S[Math.min(this.tries, RETRY_S.length - 1)];
    this.tries += 1;
    this.retry = setTimeout(() => this.connect(), wait * (800 + Math.random() * 400));
  }

  /** Where sockets do not get through, ask now and then; whoever is logged out learns it here. */
  poll() {
    if (this.polling) return;
    this.polling = setInterval(async () => {
      if (this.isOpen || this.isClosed) {
        clearInterval(this.polling);
        this.polling = null;
        return;
      }
      try {
        const answer = await fetch("/ui/status");
        if (answer.status === 401) askToLogIn();
        if (!answer.ok || this.isOpen) return;
        if (!this.isFrozen) this.on.frame(await answer.json());
        this.on.state("live", "polling");
        if (this.isTried) return;
        this.isTried = true; // it answers again: a socket need not wait for its turn
        this.connect();
      } catch {
        this.on.state("down", "Disconnected");
      }
    }, POLL_MS);
  }

  watch() {
    const now = performance.now();
    // Where we were late ourselves, what came meanwhile is still to be taken.
    if (now - this.watchedAt > 2 * WATCH_MS) this.heardAt = now;
    this.watchedAt = now;
    if (!this.isOpen || this.isFrozen || document.hidden) return;
    if (now - this.heardAt > SILENT_MS) {
      this.heardAt = now;
      const silent = this.socket;
      this.socket = null;
      silent.close();
      this.lost(1006);
    }
  }

  freeze(isFrozen) {
    this.isFrozen = isFrozen;
    this.say({ pause: isFrozen });
    this.heardAt = performance.now();
    if (this.isOpen) this.on.state(isFrozen ? "frozen" : "live", isFrozen ? FROZEN : "live");
  }

  onVisibility() {
    if (new URLSearchParams(location.search).has("kiosk")) return;
    clearTimeout(this.closing);
    if (document.hidden) {
      this.say({ pause: true });
      this.closing = setTimeout(() => {
        this.isClosed = true;
        this.socket && this.socket.close();
      }, HIDDEN_CLOSE_MS);
    } else if (this.isClosed) {
      this.isClosed = false;
      this.connect();
    } else {
      this.heardAt = performance.now();
      this.say({ pause: this.isFrozen });
    }
  }
}
