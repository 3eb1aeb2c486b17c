package subjects_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"stenobus/subjects"
)

func TestEnvelopeRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want error
		says string
	}{
		{"", subjects.ErrMessage, "version"},
		{"x frames", subjects.ErrMessage, "version"},
		{"2 frames life=1 epoch=1", subjects.ErrVersion, "message has 2, this program speaks 1"},
		{"1", subjects.ErrMessage, "kind"},
		{"1 ack life=1", subjects.ErrMessage, "epoch"},
		{"1 ack life=x epoch=1", subjects.ErrMessage, "life"},
		{"1 ack life=-1 epoch=1", subjects.ErrMessage, "life"},
		{"1 frames life=1 epoch=1 n=1", subjects.ErrMessage, "frames"},
		{"1 frames life=1 epoch=1 frames=1/2/3/4", subjects.ErrMessage, "n"},
		{"1 frames life=1 epoch=1 n=1 frames=1/2/3", subjects.ErrMessage, "source/size/packet/at"},
		{"1 frames life=1 epoch=1 n=1 frames=0/2/3/4", subjects.ErrMessage, "source/size/packet/at"},
		{"1 start life=1 epoch=1 n=1 frames=1/2/3/4,1/2/3/4", subjects.ErrMessage, "one frame"},
		{"1 nak life=1 epoch=1 n=5 to=4", subjects.ErrMessage, "to"},
		{"1 stop life=1 epoch=1 n=5", subjects.ErrMessage, "source"},
		{"1 stop life=1 epoch=1 n=5 source=9999999999", subjects.ErrMessage, "source"},
	} {
		var e subjects.Envelope
		err := e.Parse(tt.text)
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%q: got %v, want %v that says %q", tt.text, err, tt.want, tt.says)
		}
	}
}

func TestEnvelopeSkipsUnknownFields(t *testing.T) {
	t.Parallel()
	var e subjects.Envelope
	if err := e.Parse("1 ack life=3 epoch=2 attach=1 colour=red n=7 log=9 x"); err != nil {
		t.Fatal(err)
	}
	want := subjects.Envelope{Kind: subjects.KindAck, Stamp: subjects.Stamp{Life: 3, Epoch: 2, Attach: 1}, N: 7, Log: 9}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("got %+v", e)
	}
}

func TestFramesMustFillThePayload(t *testing.T) {
	t.Parallel()
	m := &nats.Msg{Header: nats.Header{subjects.HeaderName: {"1 frames life=1 epoch=1 n=1 frames=1/2/-/0,1/2147483647/-/20"}}, Data: []byte("abcd")}
	var e subjects.Envelope
	if err := e.ParseMsg(m); !errors.Is(err, subjects.ErrMessage) || !strings.Contains(err.Error(), "payload of 4") {
		t.Errorf("got %v", err)
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add("1 frames life=12 epoch=1 attach=1 n=101 frames=1/120/31456/2040,2/0/-/-5")
	f.Add("1 nak life=1 epoch=1 attach=3 n=5 to=9 source=4 log=7")
	f.Add("1 start life=1 epoch=1 n=1 frames=1/1/-/0")
	f.Fuzz(func(t *testing.T, text string) {
		var e, again subjects.Envelope
		if e.Parse(text) != nil {
			return
		}
		if strings.ContainsAny(string(e.Kind), "\r\n") {
			t.Skip("a header line never holds these")
		}
		if err := again.Parse(string(e.AppendTo(nil))); err != nil {
			t.Fatalf("%q is read, its own text %q is not: %v", text, e.AppendTo(nil), err)
		}
		if len(e.Frames) == 0 {
			e.Frames, again.Frames = nil, nil
		}
		if !reflect.DeepEqual(e, again) {
			t.Fatalf("%q: %+v became %+v", text, e, again)
		}
	})
}

func BenchmarkEnvelopeParse(b *testing.B) {
	var e subjects.Envelope
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Parse("1 frames life=123456 epoch=1 attach=1 n=101234 frames=1/120/31456/204000"); err != nil {
			b.Fatal(err)
		}
	}
}
