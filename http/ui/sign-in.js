// Signing in: with a Felix token, or with one of an identity provider, traded for a Felix token.

import { Refused, Silent } from "./api.js";
import { el, field } from "./dom.js";
import * as session from "./session.js";

export class SignIn {
  static path = "sign-in";
  static title = "Sign in";

  /** Inputs have no names, so that no browser can put them into an address. */
  render(notice) {
    const secret = (id) => el("input", {
      id, type: "password", required: true, autocomplete: "off", spellcheck: "false", "aria-describedby": "sign-in-fault",
    });
    return [
      el("h1", {}, SignIn.title),
      notice ? el("p", { class: "trouble" }, notice) : null,
      el("p", { id: "sign-in-fault", class: "fault", role: "alert", "data-own": true }),
      el("div", { class: "pair" },
        el("form", { id: "by-token", method: "post", class: "card" },
          el("h2", {}, "With a Felix token"),
          el("p", {}, "An operator's token, with the audience felix-controlplane."),
          field("Felix token", secret("felix-token")),
          el("button", { type: "submit" }, "Sign in")),
        el("form", { id: "by-exchange", method: "post", class: "card" },
          el("h2", {}, "With your identity provider"),
          el("p", {}, "Its token is traded for a Felix token here, which is then renewed by itself."),
          field("Tenant", el("input", { id: "tenant", value: "felix-operators", required: true, autocomplete: "off", spellcheck: "false" })),
          field("Token of the identity provider", secret("idp-token")),
          el("button", { type: "submit" }, "Exchange and sign in"))),
      el("p", { class: "quiet" }, "Tokens stay in this tab and go to this node only. Closing the tab or signing out forgets them."),
      el("p", { class: "quiet" }, "felix-controlplane dev keeps an operator's token in DATA_DIR/admin-token."),
    ];
  }

  /** Say what is wrong; nothing: somebody has signed in. */
  async submit(form) {
    const value = (id) => form.querySelector(`#${id}`).value;
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      if (form.id === "by-token") return session.paste(value("felix-token"));
      await session.exchange(value("tenant"), value("idp-token"));
      return "";
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Silent)) throw error;
      return explained(error);
    } finally {
      button.disabled = false;
    }
  }
}

function explained(error) {
  const where = error.requestId ? ` The audit trail says why, under request ${error.requestId}.` : "";
  if (error.status === 401) return `The tenant did not take this token: it may have expired, be for another audience, or there is no such tenant.${where}`;
  if (error.status === 403) return `The token is good, but the tenant does not trust its issuer, or no rule gives you anything.${where}`;
  return `${error.message}. Try again in a moment.`;
}
