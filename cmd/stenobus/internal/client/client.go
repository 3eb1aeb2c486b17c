// Package client sends audio to a gateway the way a conference bridge does: as JSON
// messages over one WebSocket, any number of sources on it.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"

	"stenobus/cmd/stenobus/internal/clip"
)

const (
	dialWait   = 10 * time.Second
	writeWait  = 30 * time.Second // a gateway that does not read for so long is gone
	reasonWait = time.Second      // a gateway that closes fails our write first and then says why
	readLimit  = 4 << 20          // largest message of a gateway
	bodyLimit  = 1 << 10          // most of a refusal that is shown
)

// Options of a session. URL is needed, the rest has a zero value that works.
type Options struct {
	URL      string
	Session  string        // id; empty: the gateway makes one up
	Language string        // BCP 47 tag; empty: the engine's default
	Interims bool          // hypotheses too, not only finals
	Speed    float64       // of real time; 0: as fast as the gateway keeps up
	Ahead    time.Duration // most audio of a source under way, unless Speed is 1; 0: 20 s
	Wait     time.Duration // for the last finals after the end; 0: 60 s

	Key   string         // API key or token to show; empty: none
	Roots *x509.CertPool // that the gateway's certificate is checked against; nil: the system's
}

// Watcher is told what happens, one call at a time, and must not block.
type Watcher interface {
	Result(Result)     // a result came in
	Progress(Progress) // audio was sent, or told to be heard
}

// Summary is what a session came to.
type Summary struct {
	Audio       time.Duration // sent, all sources added up
	Took        time.Duration // from the first audio to the gateway's goodbye
	Finals      int
	Frames      uint64
	Unaccounted int64 // frames that the gateway has lost track of
}

// Refused is the error of a gateway that said no, before or after the upgrade.
type Refused struct {
	Status int                  // of HTTP; 0: it was after the upgrade
	Code   websocket.StatusCode // of the WebSocket's close
	Reason string
}

func (r *Refused) Error() string {
	if r.Status != 0 {
		return fmt.Sprintf("the gateway refused with HTTP %d: %s", r.Status, r.Reason)
	}
	return fmt.Sprintf("the gateway closed the session with code %d: %s", r.Code, r.Reason)
}

// ErrUnreachable is wrapped where no gateway answered.
var ErrUnreachable = errors.New("no gateway answers")

// session is one run of Run.
type session struct {
	opts  Options
	conn  *websocket.Conn
	flow  *flow
	watch *locked
}

// Run sends the clips, each as a source of one session, waits for what comes back, and
// returns when the gateway has closed the session. Ending ctx ends the session early.
func Run(ctx context.Context, opts Options, clips []*clip.Clip, w Watcher) (Summary, error) {
	if opts.Ahead == 0 {
		opts.Ahead = 20 * time.Second
	}
	if opts.Wait == 0 {
		opts.Wait = 60 * time.Second
	}
	conn, err := dial(ctx, opts)
	if err != nil {
		return Summary{}, err
	}
	defer conn.CloseNow()
	s := &session{opts: opts, conn: conn, flow: newFlow(), watch: &locked{w: w}}
	return s.run(ctx, clips)
}

func (s *session) run(ctx context.Context, clips []*clip.Clip) (Summary, error) {
	begin := time.Now()
	heard := s.listen(context.WithoutCancel(ctx))
	sending, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		<-heard.done
		cancel(heard.err)
	}()
	err := s.send(sending, clips)
	if err == nil {
		err = s.finish(ctx, heard)
	} else {
		err = s.abandon(ctx, heard, err)
	}
	p := s.flow.progress()
	return Summary{
		Audio: p.Sent, Took: time.Since(begin), Finals: heard.finals,
		Frames: s.flow.frames, Unaccounted: heard.unaccounted,
	}, err
}

// finish waits for the gateway's goodbye.
func (s *session) finish(ctx context.Context, heard *hearing) error {
	timer := time.NewTimer(s.opts.Wait)
	defer timer.Stop()
	select {
	case <-heard.done:
		if websocket.CloseStatus(heard.err) == websocket.StatusNormalClosure {
			return nil
		}
		return refusal(heard.err)
	case <-timer.C:
		s.hangUp(heard, websocket.StatusGoingAway, "no goodbye in time")
		return fmt.Errorf("the gateway has not closed the session within %v of its end", s.opts.Wait)
	case <-ctx.Done():
		s.hangUp(heard, websocket.StatusGoingAway, "interrupted")
		return context.Cause(ctx)
	}
}

// abandon ends a session that could not be sent to its end, and finds out why.
func (s *session) abandon(ctx context.Context, heard *hearing, err error) error {
	if ctx.Err() != nil {
		s.hangUp(heard, websocket.StatusGoingAway, "interrupted")
		return context.Cause(ctx)
	}
	timer := time.NewTimer(reasonWait)
	defer timer.Stop()
	select {
	case <-heard.done:
		return refusal(heard.err)
	case <-timer.C:
	}
	s.hangUp(heard, websocket.StatusGoingAway, "giving up")
	return err
}

// hangUp closes the socket and waits for the reader, bounded by the library.
func (s *session) hangUp(heard *hearing, code websocket.StatusCode, reason string) {
	_ = s.conn.Close(code, reason)
	<-heard.done
}

// refusal reads the end of a socket.
func refusal(err error) error {
	var c websocket.CloseError
	if errors.As(err, &c) {
		reason := c.Reason
		if reason == "" {
			reason = "no reason given"
		}
		return &Refused{Code: c.Code, Reason: reason}
	}
	return &Refused{Code: websocket.StatusAbnormalClosure, Reason: "the connection broke: " + err.Error()}
}

func dial(ctx context.Context, opts Options) (*websocket.Conn, error) {
	target, err := address(opts)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	how := &websocket.DialOptions{HTTPHeader: http.Header{}}
	if opts.Key != "" {
		how.HTTPHeader.Set("Authorization", "Bearer "+opts.Key)
	}
	if opts.Roots != nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.TLSClientConfig = &tls.Config{RootCAs: opts.Roots, MinVersion: tls.VersionTLS12}
		t.ForceAttemptHTTP2 = false // WebSockets begin with HTTP/1.1
		defer t.CloseIdleConnections()
		how.HTTPClient = &http.Client{Transport: t}
	}
	conn, resp, err := websocket.Dial(bounded, target, how)
	if err == nil {
		conn.SetReadLimit(readLimit)
		return conn, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
		reason := http.StatusText(resp.StatusCode)
		if resp.Body != nil {
			if body, _ := io.ReadAll(io.LimitReader(resp.Body, bodyLimit)); len(body) > 0 {
				reason = strings.TrimSpace(string(body))
			}
		}
		return nil, &Refused{Status: resp.StatusCode, Reason: reason}
	}
	return nil, fmt.Errorf("%w at %s: %w", ErrUnreachable, opts.URL, err)
}

// address adds the session's wishes to the gateway's URL.
func address(opts Options) (string, error) {
	u, err := url.Parse(opts.URL)
	if err != nil {
		return "", fmt.Errorf("URL of the gateway: %w", err)
	}
	q := u.Query()
	q.Set("sendBack", "true")
	q.Set("stenobus", "1")
	if opts.Interims {
		q.Set("sendBackInterim", "true")
	}
	if opts.Session != "" {
		q.Set("sessionId", opts.Session)
	}
	if opts.Language != "" {
		q.Set("lang", opts.Language)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func (s *session) write(ctx context.Context, message any) error {
	b, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// The library cuts a connection whose write is cancelled, and the gateway would wait for
	// a client that has left: a write under way has a moment to end before the goodbye.
	writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeWait)
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(reasonWait, cancel) })()
	if err := s.conn.Write(writing, websocket.MessageText, b); err != nil {
		return fmt.Errorf("send to the gateway: %w", err)
	}
	return nil
}
