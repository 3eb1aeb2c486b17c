package gateway

import (
	"fmt"
	"net/http"
	"time"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// mostOfOneID is how many connections of one session count as a client that comes back.
const mostOfOneID = 4

// holdings are the sessions that each principal has here, by id: a client that comes
// back for one of its own needs no room for another. The gateway's lock guards it.
type holdings map[string]map[subjects.SessionID]int

// take counts a session in, unless its principal has as many as its key or token allows,
// or as the gateway does where these say nothing.
func (h holdings) take(s *session, each int) *dialect.Refusal {
	name, most := s.creds.principal, or(s.creds.may.MaxSessions, each)
	if name == "" {
		return nil
	}
	held := h[name]
	if len(held) >= most && (held[s.id] == 0 || held[s.id] >= mostOfOneID) {
		return &dialect.Refusal{
			Status: http.StatusTooManyRequests, Code: refusedQuota, RetryAfter: time.Second,
			Text: fmt.Sprintf("this client has %d of %d sessions on this gateway: end one first", len(held), most),
		}
	}
	if held == nil {
		held = map[subjects.SessionID]int{}
		h[name] = held
	}
	held[s.id]++
	return nil
}

// giveBack undoes take.
func (h holdings) giveBack(s *session) {
	held := h[s.creds.principal]
	if held == nil {
		return
	}
	if held[s.id]--; held[s.id] <= 0 {
		delete(held, s.id)
	}
	if len(held) == 0 {
		delete(h, s.creds.principal)
	}
}
