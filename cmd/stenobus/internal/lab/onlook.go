package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
	"stenobus/worker/engine/tally"
)

// onlookRoom is how many messages may wait for the onlooker. What it misses it misses:
// all that it saw is a lower bound.
const onlookRoom = 200_000

// onlooker sees what is on the bus, as anyone may. Its handlers run on goroutines of
// the connection, one a subscription.
type onlooker struct {
	nc   *nats.Conn
	js   jetstream.JetStream
	crew *crew

	watched atomic.Uint64 // messages of the extra subscriber

	mu     sync.Mutex // guards what follows
	seen   map[uint32][]uint64
	byName map[frameName]tally.Number // only where older versions run: their finals name frames by the bus's numbers alone
}

// frameName is what the bus calls a frame.
type frameName struct {
	session subjects.SessionID
	life, n uint64
}

// onlook connects to the nodes themselves, past all proxies.
func onlook(urls []string, extra []nats.Option) (*onlooker, error) {
	o := &onlooker{seen: map[uint32][]uint64{}}
	nc, err := nats.Connect(strings.Join(urls, ","), append([]nats.Option{
		nats.Name("stenobus lab"), nats.MaxReconnects(-1), nats.ReconnectWait(100 * time.Millisecond),
		nats.PingInterval(2 * time.Second), nats.MaxPingsOutstanding(2), nats.Timeout(2 * time.Second),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // it may miss messages
	}, extra...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to the bus: %w", err)
	}
	o.nc = nc
	if o.js, err = jetstream.New(nc); err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect to the bus: %w", err)
	}
	return o, nil
}

// begin subscribes. With all it also takes everything there is, as a person who looks
// on would, and throws it away.
func (o *onlooker) begin(ctx context.Context, w *crew, all bool) error {
	o.crew = w
	subs := map[string]nats.MsgHandler{subjects.AllFrames: o.onFrames, subjects.AllInboxes: o.onInbox}
	if all {
		subs[strings.TrimSuffix(subjects.AllFrames, "session.*")+">"] = func(*nats.Msg) { o.watched.Add(1) }
	}
	for subject, handler := range subs {
		sub, err := o.nc.Subscribe(subject, handler)
		if err == nil {
			err = sub.SetPendingLimits(onlookRoom, -1)
		}
		if err != nil {
			return fmt.Errorf("look on at %s: %w", subject, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	return o.nc.FlushWithContext(ctx)
}

// onFrames notes which numbered frames were on the bus.
func (o *onlooker) onFrames(m *nats.Msg) {
	var e subjects.Envelope
	if e.ParseMsg(m) != nil || len(e.Frames) == 0 {
		return
	}
	id, err := subjects.ParseFrames(m.Subject)
	if err != nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	data := m.Data
	for i, f := range e.Frames {
		if n, ok := tally.ReadNumber(data[:f.Size]); ok {
			o.note(n)
			if o.byName != nil {
				o.byName[frameName{id, e.Life, e.N + uint64(i)}] = n
			}
		}
		data = data[f.Size:]
	}
}

// note needs the lock. What was seen of a source is the highest number: the numbers
// below it were said before it.
func (o *onlooker) note(n tally.Number) {
	if n.Source == 0 || int(n.Source) > o.crew.sources {
		return
	}
	s := o.seen[n.Session]
	if s == nil {
		s = make([]uint64, o.crew.sources+1)
		o.seen[n.Session] = s
	}
	s[n.Source] = max(s[n.Source], n.N)
}

// name makes the statement of an older tally, which knows no numbered audio, tell which
// numbers were on the bus under the frames' names.
func (o *onlooker) name(id subjects.SessionID, life uint64, st *tally.Statement) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byName == nil || len(st.Audio) > 0 {
		return
	}
	for _, n := range st.Frames {
		if f, ok := o.byName[frameName{id, life, n}]; ok {
			st.Audio = append(st.Audio, tally.Run{Session: f.Session, Source: f.Source, First: f.N, Last: f.N})
		}
	}
}

// highest is the highest number that was seen of each source of a session, from 1.
func (o *onlooker) highest(session uint32) []uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen[session]
}

// onInbox follows owners and coverage.
func (o *onlooker) onInbox(m *nats.Msg) {
	now := time.Now()
	id, channel, err := subjects.ParseInbox(m.Subject)
	if err != nil || channel != subjects.ChannelResult {
		return
	}
	session, ok := o.crew.latest(id)
	var e subjects.Envelope
	if !ok || e.ParseMsg(m) != nil {
		return
	}
	switch e.Kind {
	case subjects.KindOwner:
		if own, err := subjects.Decode[subjects.Owner](e.Kind, m.Data); err == nil {
			o.crew.owns(session, owner{own.Worker, e.Epoch})
		}
	case subjects.KindFinal:
		if f, err := subjects.Decode[subjects.Final](e.Kind, m.Data); err == nil {
			o.crew.recoveries.covered(session, result{e.Life, e.Epoch, sourceOf(f.Name), lastFrame(f.Text)}, now)
		}
	}
}

// latest is the session that has an id now.
func (w *crew) latest(id subjects.SessionID) (uint32, bool) {
	base, ok := w.indexOf(id)
	if !ok {
		return 0, false
	}
	chain := w.chain(base)
	if len(chain) == 0 {
		return 0, false
	}
	return chain[len(chain)-1], true
}

// indexOf tells which of the run's sessions had an id first.
func (w *crew) indexOf(id subjects.SessionID) (uint32, bool) {
	rest, ok := strings.CutPrefix(string(id), w.prefix+"-")
	if !ok {
		return 0, false
	}
	var n uint32
	for _, c := range []byte(rest) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint32(c-'0')
	}
	return n, rest != ""
}

// leader names the node that leads the results, or the first stream of them, empty where
// there is none.
func (o *onlooker) leader(ctx context.Context) string {
	infos, err := o.resultsInfo(ctx)
	if err != nil || infos[0].Cluster == nil {
		return ""
	}
	return infos[0].Cluster.Leader
}

// resultsInfo tells of each stream of the results log.
func (o *onlooker) resultsInfo(ctx context.Context) (infos []*jetstream.StreamInfo, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	results, err := subjects.OpenResults(ctx, o.js)
	if err != nil {
		return nil, err
	}
	for _, s := range results.Streams() {
		infos = append(infos, s.CachedInfo())
	}
	return infos, nil
}

// awaitBus returns when the results have a leader and every copy of them is current.
func (o *onlooker) awaitBus(ctx context.Context) error {
	for {
		infos, err := o.resultsInfo(ctx)
		for _, info := range infos {
			if info.Cluster != nil { // alone a server is always current
				err = errors.Join(err, current(info.Cluster))
			}
		}
		if err == nil {
			return nil
		}
		if pause(ctx, 250*time.Millisecond) != nil {
			return fmt.Errorf("the bus has not come together: %w", err)
		}
	}
}

func current(c *jetstream.ClusterInfo) error {
	if c.Leader == "" {
		return errors.New("the results have no leader")
	}
	for _, r := range c.Replicas {
		if !r.Current || r.Offline {
			return fmt.Errorf("the copy of the results on %s is not current", r.Name)
		}
	}
	return nil
}
