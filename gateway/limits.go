package gateway

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

const (
	speedBurst    = time.Minute // audio that may come at once, however fast
	shortestFrame = 2500 * time.Microsecond
	maxAddresses  = 1 << 16 // whose attempts are counted at once
)

// attempts bounds how often one address may ask to connect. It knows a bounded number of
// addresses: the least recently seen half goes when there are more.
type attempts struct {
	each rate.Limit // a second
	most int        // at once

	mu       sync.Mutex // guards what follows
	now, old map[netip.Prefix]*rate.Limiter
}

func newAttempts(each float64) *attempts {
	return &attempts{each: rate.Limit(each), most: max(1, int(2*each)), now: map[netip.Prefix]*rate.Limiter{}}
}

// allow counts an attempt.
func (a *attempts) allow(remote string) bool {
	network, ok := Network(remote)
	return !ok || a.limiter(network).Allow()
}

// Network is what counts as one address of clients: with IPv6 the whole network, as a
// client has as many of its addresses as it likes. Others than those of IP, such as a
// test's, are none.
func Network(remote string) (netip.Prefix, bool) {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}, false
	}
	addr = addr.Unmap()
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	prefix, err := addr.Prefix(bits)
	return prefix, err == nil
}

func (a *attempts) limiter(p netip.Prefix) *rate.Limiter {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l := a.now[p]; l != nil {
		return l
	}
	l := a.old[p]
	if l == nil {
		l = rate.NewLimiter(a.each, a.most)
	}
	if len(a.now) >= maxAddresses/2 {
		a.old, a.now = a.now, map[netip.Prefix]*rate.Limiter{}
	}
	a.now[p] = l
	return l
}

// tooManyAttempts refuses an address that connects too often, before anything else is done
// for it.
func (g *Server) tooManyAttempts(r *http.Request) *dialect.Refusal {
	if g.attempts.allow(r.RemoteAddr) {
		return nil
	}
	return &dialect.Refusal{
		Status: http.StatusTooManyRequests, Code: refusedRate, RetryAfter: time.Second,
		Text: fmt.Sprintf("more than %g connections a second from one address", g.cfg.ConnectRate),
	}
}

// pacer bounds how fast a session's audio is taken: a minute may come at once, and then
// as many times real time as is allowed, for each of its sources. Who is faster is not
// closed but read more slowly.
type pacer struct {
	speed float64       // times real time
	owed  time.Duration // audio beyond what time has allowed
	at    time.Time     // when owed was so
}

// pay counts a frame. One whose length can't be told has at least that of the shortest.
func (p *pacer) pay(lasts time.Duration, sources int, now time.Time) {
	p.settle(sources, now)
	p.owed += max(lasts, shortestFrame)
}

func (p *pacer) settle(sources int, now time.Time) {
	if !p.at.IsZero() {
		p.owed -= time.Duration(p.speed * float64(max(1, sources)) * float64(now.Sub(p.at)))
	}
	p.owed, p.at = max(0, p.owed), now
}

// wait is how long nothing more should be taken.
func (p *pacer) wait(sources int, now time.Time) time.Duration {
	p.settle(sources, now)
	if p.owed <= speedBurst {
		return 0
	}
	return time.Duration(float64(p.owed-speedBurst) / (p.speed * float64(max(1, sources))))
}

// lasted ends a session that has gone on for as long as any may.
func (s *session) lasted(now time.Time) {
	if s.over || s.yielding {
		return
	}
	why := endTooLong.because(fmt.Sprintf("more than %v", s.srv.cfg.MaxLength))
	s.giveUp(why, subjects.EndRefused)
	s.out.finish(why) // at once, so that the client goes on in another session
	s.flow(now)
}
