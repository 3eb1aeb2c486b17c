package gateway

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// The codes of refusals before the upgrade, a closed list that all dialects share.
const (
	refusedBadRequest   = "bad_request"       // a parameter is wrong: do not try again
	refusedUnauthorized = "unauthorized"      // no key or token, or not one that is known here
	refusedForbidden    = "forbidden"         // known, and not allowed to do this
	refusedNotFound     = "not_found"         // nothing is at this path
	refusedUpgrade      = "upgrade_required"  // this path speaks WebSocket only
	refusedRate         = "too_many_connects" // this address connects too often: try again later
	refusedQuota        = "too_many_sessions" // this client has as many sessions as it may: try again when one is over
	refusedFull         = "gateway_full"      // try another gateway, or later
	refusedNotReady     = "not_ready"         // starting or stopping: try another gateway, or later
)

// request checks what a client asks for, and makes its session.
func (g *Server) request(w http.ResponseWriter, r *http.Request, d dialect.Dialect) (*session, dialect.Request, *dialect.Refusal) {
	var none dialect.Request
	if refusal := g.tooManyAttempts(r); refusal != nil {
		return nil, none, refusal
	}
	if refusal := g.strangePage(r); refusal != nil {
		return nil, none, refusal
	}
	if isUpgrade(r) && !g.open.Load() {
		return nil, none, notOpen()
	}
	creds, refusal := g.credentials(r, d)
	if refusal != nil {
		return nil, none, refusal
	}
	// After the credentials: a web page, that is not told why a socket was refused, asks so.
	if refusal := handshake(r, w.Header()); refusal != nil {
		return nil, none, refusal
	}
	conv, req, refusal := d.Open(withoutSecret(r))
	if refusal != nil {
		return nil, none, refusal
	}
	id, given, err := resolveID(req.SessionID)
	switch {
	case err != nil:
		return nil, none, &dialect.Refusal{Status: http.StatusBadRequest, Text: fmt.Sprintf("Invalid sessionId: %v", err)}
	case req.Resume && !given:
		return nil, none, &dialect.Refusal{Status: http.StatusBadRequest, Text: "Invalid after: it needs the sessionId of the session to resume"}
	}
	if req.Options.Engine == "" {
		if req.Options.Engine, refusal = creds.engine(g.cfg.Engines); refusal != nil {
			return nil, none, refusal
		}
	}
	if refusal := creds.permitted(id, given, req.Options.Engine); refusal != nil {
		return nil, none, refusal
	}
	s := newSession(g, id, given, req, creds, conv)
	return s, req, g.admit(r.Context(), s)
}

// answer adds what a dialect tells its client when the connection is made.
func answer(h http.Header, req dialect.Request, id subjects.SessionID) {
	for name, values := range req.Header {
		h[name] = values
	}
	if req.IDHeader != "" {
		h.Set(req.IDHeader, string(id))
	}
}

func notOpen() *dialect.Refusal {
	return &dialect.Refusal{
		Status: http.StatusServiceUnavailable, Code: refusedNotReady, RetryAfter: time.Second,
		Text: "gateway is not accepting sessions: try another",
	}
}

// refuse answers a request that becomes no session.
func (g *Server) refuse(w http.ResponseWriter, render func(dialect.Refusal, http.Header) string, why dialect.Refusal) {
	if why.Code == "" {
		why.Code = refusedBadRequest
	}
	g.metrics.refusals.WithLabelValues(why.Code).Inc()
	h := w.Header()
	if why.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(why.RetryAfter.Seconds()))))
	}
	if why.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="stenobus"`)
	}
	h.Set("Stenobus-Code", why.Code)
	h.Set("Connection", "close") // a stranger keeps no socket
	body := render(why, h)
	w.WriteHeader(why.Status)
	_, _ = fmt.Fprint(w, body) // the client may be gone already
}

// elsewhere answers at paths that no dialect has: / says what there is, to programs in
// text and to people with a page.
func (g *Server) elsewhere(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close") // a stranger keeps no socket
	switch {
	case r.URL.Path == "/" && !isUpgrade(r):
		w.Header().Set("Vary", "Accept")
		if wantsPage(r) {
			g.page.serve(w)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = fmt.Fprint(w, g.description()) // the client may be gone already
	case strings.HasSuffix(r.URL.Path, "/translate"):
		g.refuse(w, dialect.Refusal.Plain, dialect.Refusal{Status: http.StatusNotFound, Code: refusedNotFound, Text: "Translation endpoint disabled"})
	case isUpgrade(r):
		g.refuse(w, dialect.Refusal.Plain, dialect.Refusal{Status: http.StatusNotFound, Code: refusedNotFound, Text: "Bad URL: clients connect to " + g.paths()})
	default:
		g.refuse(w, dialect.Refusal.Plain, dialect.Refusal{
			Status: http.StatusNotFound, Code: refusedNotFound, Text: "nothing is at this path; clients connect by WebSocket to " + g.paths(),
		})
	}
}

// description says to people what this server is and what connects where.
func (g *Server) description() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Stenobus gateway %s: live speech to text. Clients connect by WebSocket to\n\n", g.cfg.Version)
	for _, d := range g.dialects {
		fmt.Fprintf(&b, "  %-14s %s\n", d.Path(), d.About())
	}
	b.WriteString("\nOperators read /healthz, /readyz, /status and /metrics. The clients' protocols, keys, limits and codes\nare in gateway/CLIENTS.md, the bus's in subjects/PROTOCOL.md.\n")
	return b.String()
}

func (g *Server) paths() string {
	var paths []string
	for _, d := range g.dialects {
		paths = append(paths, d.Path())
	}
	return strings.Join(paths, ", ")
}
