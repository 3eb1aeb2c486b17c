package gateway

import (
	"fmt"
	"net/http"
	"time"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// holdings are the sessions that each principal has here, by id: a client that comes
// back for one of its own needs no room for another. The gateway's lock guards it.
type holdings map[string]map[subjects.SessionID]int

// take counts a session in, unless its key or token allows no more.
func (h holdings) take(s *session) *dialect.Refusal {
	name, most := s.creds.principal, s.creds.may.MaxSessions
	if name == "" {
		return nil
	}
	held := h[name]
	if most > 0 && len(held) >= most && held[s.id] == 0 {
		return &dialect.Refusal{
			Status: http.StatusTooManyRequests, Code: refusedQuota, RetryAfter: time.Second,
			Text: fmt.Sprintf("this key or token allows %d sessions at once, and has %d: end one first", most, len(held)),
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
