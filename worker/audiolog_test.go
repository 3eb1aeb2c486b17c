package worker

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
)

// sent makes messages as gateways send them, each frame with its number as its bytes.
type sent struct{ stamp subjects.Stamp }

func by(attach uint64) sent { return sent{subjects.Stamp{Life: 7, Epoch: 1, Attach: attach}} }

func (s sent) msg(kind subjects.Kind, n uint64, set func(*subjects.Envelope), payload []byte) *nats.Msg {
	e := subjects.Envelope{Kind: kind, Stamp: s.stamp, N: n}
	if set != nil {
		set(&e)
	}
	return e.Msg(subjects.Frames("s"), payload)
}

func (s sent) frames(source uint32, from, to uint64) *nats.Msg {
	var infos []subjects.FrameInfo
	var payload []byte
	for n := from; n <= to; n++ {
		text := fmt.Sprintf("%d.%d,", s.stamp.Attach, n)
		infos = append(infos, subjects.FrameInfo{Source: source, Size: len(text), Packet: -1, At: int64(n) * 20})
		payload = append(payload, text...)
	}
	return s.msg(subjects.KindFrames, from, func(e *subjects.Envelope) { e.Frames = infos }, payload)
}

func (s sent) start(info subjects.Source, n uint64) *nats.Msg {
	m := s.frames(info.Source, n, n)
	return s.msg(subjects.KindStart, n, func(e *subjects.Envelope) {
		e.Starts, e.Frames = &info, []subjects.FrameInfo{{Source: info.Source, Size: len(m.Data), Packet: -1}}
	}, m.Data)
}

func (s sent) skip(from, to uint64, runs ...subjects.Run) *nats.Msg {
	return s.msg(subjects.KindSkip, from, func(e *subjects.Envelope) { e.To = to },
		subjects.Encode(subjects.Skip{Reason: subjects.RefusedWindow, Runs: runs}))
}

func (s sent) announce(n uint64, sources ...subjects.Source) *nats.Msg {
	return s.msg(subjects.KindAnnounce, n, nil, subjects.Encode(subjects.Announce{Sources: sources}))
}

func speaker(n uint32, language string) subjects.Source {
	return subjects.Source{Source: n, Name: fmt.Sprint(n), Encoding: "opus", SampleRate: 48000, Channels: 2, Language: language}
}

func gathered(msgs ...*nats.Msg) passage {
	g := newGathering(wanted{life: 7})
	for _, m := range msgs {
		g.add(m.Header, m.Data)
	}
	return g.passage()
}

// texts is what a receiver takes that begins at a number: frames as their bytes,
// anything else as its kind and number.
func texts(p passage, next uint64) (got string) {
	var r receiver
	r.begin(next)
	r.adopt(p.items)
	r.top = max(r.top, p.top)
	for {
		a, ok := r.peek()
		if !ok {
			from, to, hole := r.hole()
			if !hole {
				return got
			}
			got += fmt.Sprintf("hole %d-%d,", from, to)
			r.takeTo(to)
			continue
		}
		if len(a.envelope.Frames) == 0 {
			got += fmt.Sprintf("%s %d,", a.envelope.Kind, r.next)
			r.takeTo(a.to)
			continue
		}
		offset := 0
		for i, f := range a.envelope.Frames {
			if a.n+uint64(i) == r.next {
				got += string(a.payload[offset : offset+f.Size])
			}
			offset += f.Size
		}
		r.take()
	}
}

func TestPassage(t *testing.T) {
	t.Parallel()
	g1, g2 := by(1), by(2)
	stranger := sent{subjects.Stamp{Life: 6, Epoch: 9, Attach: 9}}
	for _, tt := range []struct {
		name    string
		msgs    []*nats.Msg
		covered map[uint32]uint64
		begin   uint64
		top     uint64
		want    string
	}{
		{"nothing", nil, nil, 0, 0, ""},
		{"in order", []*nats.Msg{g1.frames(1, 1, 2), g1.frames(1, 3, 4)}, nil, 1, 4, "1.1,1.2,1.3,1.4,"},
		{"sent again, in other messages", []*nats.Msg{g1.frames(1, 1, 2), g1.frames(1, 5, 6), g1.frames(1, 2, 5)}, nil, 1, 6, "1.1,1.2,1.3,1.4,1.5,1.6,"},
		{"another life", []*nats.Msg{stranger.frames(1, 1, 9), g1.frames(1, 1, 1)}, nil, 1, 1, "1.1,"},
		{"covered", []*nats.Msg{g1.frames(1, 1, 3), g1.frames(2, 4, 5), g1.frames(1, 6, 7)}, map[uint32]uint64{1: 6, 2: 4}, 5, 7, "1.5,1.6,1.7,"},
		{"all covered", []*nats.Msg{g1.frames(1, 1, 3), g1.msg(subjects.KindStop, 4, func(e *subjects.Envelope) { e.Source = 1 }, nil)}, map[uint32]uint64{1: 3}, 5, 4, ""},
		{"only the end is left", []*nats.Msg{g1.frames(1, 1, 3), g1.msg(subjects.KindEnd, 4, nil, nil)}, map[uint32]uint64{1: 3}, 4, 4, "end 4,"},
		{"a hole, and a lost tail", []*nats.Msg{g1.frames(1, 1, 1), g1.frames(1, 4, 4), g1.msg(subjects.KindLast, 6, nil, nil)}, nil, 1, 6, "1.1,hole 2-3,1.4,hole 5-6,"},
		{"given up", []*nats.Msg{g1.frames(1, 1, 2), g1.skip(1, 4, subjects.Run{Source: 1, Count: 4}), g1.frames(1, 5, 5)}, nil, 1, 5, "1.1,1.2,skip 3,1.5,"},
		{"given up and covered", []*nats.Msg{g1.skip(1, 4, subjects.Run{Source: 1, Count: 4}), g1.frames(1, 5, 5)}, map[uint32]uint64{1: 4}, 5, 5, "1.5,"},
		{"two gateways", []*nats.Msg{g1.frames(1, 1, 3), g2.frames(1, 4, 5)}, nil, 1, 5, "1.1,1.2,1.3,2.4,2.5,"},
		{"the first one's last words came too late", []*nats.Msg{g1.frames(1, 1, 2), g2.frames(1, 4, 5), g1.frames(1, 3, 9), g1.msg(subjects.KindLast, 20, nil, nil)}, nil, 1, 5, "1.1,1.2,1.3,2.4,2.5,"},
		{"the second tells of what the first had", []*nats.Msg{g1.frames(1, 1, 2), g2.skip(1, 2, subjects.Run{Count: 2}), g2.frames(1, 3, 3)}, nil, 1, 3, "1.1,1.2,2.3,"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := gathered(tt.msgs...)
			begin := p.begin(tt.covered)
			if begin != tt.begin || p.top != tt.top {
				t.Errorf("begins at %d with top %d, want %d and %d", begin, p.top, tt.begin, tt.top)
			}
			if begin == 0 {
				return
			}
			if got := texts(p, begin); got != tt.want {
				t.Errorf("takes %s\nwant  %s", got, tt.want)
			}
		})
	}
}

func TestPassageSources(t *testing.T) {
	t.Parallel()
	en, de, other, gone := speaker(1, "en"), speaker(1, "de"), speaker(2, ""), speaker(3, "")
	g := by(1)
	p := gathered(
		g.announce(10, en, gone), g.frames(1, 10, 12),
		g.msg(subjects.KindStop, 13, func(e *subjects.Envelope) { e.Source = 3 }, nil),
		g.start(de, 14), g.frames(1, 15, 16), g.start(other, 17), g.announce(18, de, other),
	)
	for _, tt := range []struct {
		from uint64
		want []subjects.Source
	}{
		{11, []subjects.Source{en, other, gone}},
		{15, []subjects.Source{de, other, gone}},
		{18, []subjects.Source{de, other, gone}},
	} {
		known, live := p.sources(tt.from)
		if !reflect.DeepEqual(known, tt.want) || !live[1] || !live[2] || live[3] {
			t.Errorf("from %d: known %+v live %v", tt.from, known, live)
		}
	}
}

// A session is read out of a log that has others', from a moment on, and no consumer stays.
func TestReadAudioLog(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	nc := bus.Dial()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), subjectstest.Wait)
	defer cancel()
	l := newAudioLog(js)
	if p, err := l.read(ctx, "s", wanted{life: 7}); err != nil || len(p.items) > 0 || !l.isAbsent() {
		t.Errorf("without a log: %+v, %v, absent %v", p, err, l.isAbsent())
	}
	if err := subjects.EnsureAudio(ctx, js, subjects.BusConfig{}); err != nil {
		t.Fatal(err)
	}
	l = newAudioLog(js)
	const n = 3*readPage + 5
	for i := uint64(1); i <= n; i++ {
		for _, id := range []subjects.SessionID{"s", "other"} {
			m := by(1).frames(1, i, i)
			m.Subject = subjects.Frames(id)
			if err := nc.PublishMsg(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	stream, err := js.Stream(ctx, subjects.AudioStream)
	if err != nil {
		t.Fatal(err)
	}
	subjectstest.Eventually(t, "all is logged", func() bool {
		info, err := stream.Info(ctx)
		return err == nil && info.State.Msgs == 2*n
	})
	p, err := l.read(ctx, "s", wanted{life: 7})
	if err != nil || len(p.items) != n || p.top != n {
		t.Errorf("read %d of %d messages, top %d, %v", len(p.items), n, p.top, err)
	}
	p, err = l.read(ctx, "s", wanted{life: 7, covered: map[uint32]uint64{1: n - 1}})
	if err != nil || len(p.items) != n || p.items[n-2].payload != nil || p.items[n-1].payload == nil {
		t.Errorf("read %d of %d messages, of which the last is not covered, %v", len(p.items), n, err)
	}
	if p, err = l.read(ctx, "s", wanted{life: 7, since: time.Now().Add(time.Minute)}); err != nil || len(p.items) != 0 {
		t.Errorf("read %d messages of the future, %v", len(p.items), err)
	}
	info, err := stream.Info(ctx)
	if err != nil || info.State.Consumers != 0 {
		t.Errorf("%d consumers are left, %v", info.State.Consumers, err)
	}
}

// leaderless gives no answer to the first request for a consumer, as a stream that elects.
type leaderless struct {
	jetstream.JetStream
	asked bool
}

func (l *leaderless) CreateConsumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	if !l.asked {
		l.asked = true
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return l.JetStream.CreateConsumer(ctx, stream, cfg)
}

// A log that does not answer is asked again, and read.
func TestAudioLogElectsALeader(t *testing.T) {
	t.Parallel()
	nc := subjectstest.NewBus(t).Dial()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*subjectstest.Wait)
	defer cancel()
	if err := subjects.EnsureAudio(ctx, js, subjects.BusConfig{}); err != nil {
		t.Fatal(err)
	}
	m := by(1).frames(1, 1, 1)
	if err := nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	subjectstest.Eventually(t, "it is logged", func() bool {
		stream, err := js.Stream(ctx, subjects.AudioStream)
		return err == nil && stream.CachedInfo().State.Msgs == 1
	})
	if p, err := newAudioLog(&leaderless{JetStream: js}).read(ctx, "s", wanted{life: 7}); err != nil || len(p.items) != 1 {
		t.Errorf("read %d of 1 messages, %v", len(p.items), err)
	}
}
