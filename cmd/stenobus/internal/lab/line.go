package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

const (
	dialWait   = 3 * time.Second
	writeWait  = 4 * time.Second // a gateway that does not read for so long is gone
	silentWait = 4 * time.Second // a gateway that does not answer pings for so long is gone
	pingEvery  = time.Second
	readLimit  = 4 << 20
)

var errSilent = errors.New("the gateway does not answer")

// line is one connection of a client to a gateway. Its reader is a goroutine of its own
// and closes done as the last thing that it does.
type line struct {
	conn    *websocket.Conn
	tcp     net.Conn // below it
	gateway int
	since   time.Time
	resumed bool // it has to hear where to go on before it speaks

	frozen atomic.Bool // another line has the session: what comes here is not heard
	alive  atomic.Int64
	goOn   chan map[string]int64 // where to go on, once
	done   chan struct{}
	err    error // of the reader; read it after done
}

// refusedUpgrade is an answer to a client that asked for a connection.
type refusedUpgrade struct{ status int }

func (r *refusedUpgrade) Error() string { return fmt.Sprintf("HTTP status %d", r.status) }

// dial connects to one gateway. What the client has, and its right to the session, go
// with the request.
func (c *client) dial(ctx context.Context, gateway int, resume bool) (*line, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	q := url.Values{"sendBack": {"true"}, "sendBackInterim": {"true"}, "stenobus": {"1"}, "sessionId": {c.id}}
	header := http.Header{}
	if resume {
		c.mu.Lock()
		q.Set("after", strconv.FormatUint(c.ear.cursor, 10))
		if c.ear.token != "" {
			header.Set("Stenobus-Resume-Token", c.ear.token)
		}
		c.mu.Unlock()
	}
	if c.crew.key != "" {
		header.Set("Authorization", "Bearer "+c.crew.key)
	}
	var tcp net.Conn
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.crew.roots}, DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		tcp, err = (&net.Dialer{}).DialContext(ctx, network, addr)
		return tcp, err
	}}
	conn, resp, err := websocket.Dial(ctx, c.crew.urls[gateway]+"?"+q.Encode(), &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: header,
	})
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, &refusedUpgrade{resp.StatusCode}
		}
		return nil, err
	}
	conn.SetReadLimit(readLimit)
	l := &line{
		conn: conn, tcp: tcp, gateway: gateway, since: time.Now(), resumed: resume,
		goOn: make(chan map[string]int64, 1), done: make(chan struct{}),
	}
	l.alive.Store(l.since.UnixNano())
	l.bound(l.since)
	c.readers.Go(func() {
		l.err = c.read(l)
		close(l.done)
	})
	return l, nil
}

// read hears one line to its end.
func (c *client) read(l *line) error {
	for {
		_, b, err := l.conn.Read(context.Background()) // it ends with the connection
		if err != nil {
			return err
		}
		now := time.Now()
		l.alive.Store(now.UnixNano())
		if err := c.listen(l, b, now); err != nil {
			return err
		}
	}
}

// listen takes one message of a line.
func (c *client) listen(l *line, b []byte, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.frozen.Load() {
		return nil
	}
	s, found, err := c.ear.hear(b, now)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		c.crew.wrongs.add(found...)
	}
	switch {
	case s.final:
		c.crew.finals.Add(1)
		c.crew.recoveries.covered(c.index, s.covers, now)
	case s.event == "ready", s.event == "moved", s.event == "resumed":
		if c.readyAt.IsZero() {
			c.readyAt = now
		}
		select {
		case l.goOn <- s.packets:
		default:
		}
	}
	return nil
}

// silent tells whether the gateway has not answered for too long.
func (l *line) silent(now time.Time) bool {
	return now.UnixNano()-l.alive.Load() > int64(silentWait)
}

// bound gives writes their time. A deadline of the socket costs less than a context for
// each message.
func (l *line) bound(now time.Time) {
	_ = l.tcp.SetWriteDeadline(now.Add(pingEvery + writeWait)) // fails where it is closed
}

// write sends one message. A gateway that does not read ends the line.
func (l *line) write(message []byte) error {
	return l.conn.Write(context.Background(), websocket.MessageText, message)
}

// cut ends the line as a broken network does: without a word.
func (l *line) cut() {
	_ = l.conn.CloseNow() // what it says does not matter
	<-l.done
}

// verdict is what the end of a line means.
type verdict int

const (
	again verdict = iota // come back
	over                 // the session has ended
	lost                 // the session is gone
)

// judge tells how a session goes on whose line ended so.
func judge(err error, ended bool) (verdict, string) {
	switch code := websocket.CloseStatus(err); code {
	case websocket.StatusNormalClosure:
		if ended {
			return over, ""
		}
		return lost, "closed with 1000 before the event ended"
	case -1, websocket.StatusGoingAway, websocket.StatusAbnormalClosure, websocket.StatusInternalError,
		websocket.StatusServiceRestart, websocket.StatusTryAgainLater:
		return again, err.Error()
	default:
		return lost, err.Error()
	}
}

// judgeRefusal is judge for a connection that did not come about.
func judgeRefusal(err error) (verdict, string) {
	var refused *refusedUpgrade
	if errors.As(err, &refused) && refused.status < 500 && refused.status != http.StatusTooManyRequests {
		return lost, "refused before the upgrade: " + err.Error()
	}
	return again, err.Error()
}
