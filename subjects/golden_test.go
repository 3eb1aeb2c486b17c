package subjects_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"stenobus/subjects"
)

var update = flag.Bool("update", false, "write the golden messages anew")

// golden is one message of the protocol, as it stands in testdata.
type golden struct {
	name     string
	subject  string
	envelope *subjects.Envelope // nil: a document with its version in the field v
	payload  any                // decoded form; []byte for audio
	decode   func([]byte) (any, error)
}

func body[T any](kind subjects.Kind) func([]byte) (any, error) {
	return func(b []byte) (any, error) { return subjects.Decode[T](kind, b) }
}

func doc[T any](what string) func([]byte) (any, error) {
	return func(b []byte) (any, error) { return subjects.DecodeDoc[T](what, b) }
}

// goldens are all messages of the protocol, one of each kind.
func goldens() []golden {
	const id = subjects.SessionID("meeting 1")
	stamp := subjects.Stamp{Life: 12, Epoch: 2, Attach: 1}
	env := func(kind subjects.Kind, set func(*subjects.Envelope)) *subjects.Envelope {
		e := &subjects.Envelope{Kind: kind, Stamp: stamp}
		if set != nil {
			set(e)
		}
		return e
	}
	n := func(n uint64) func(*subjects.Envelope) { return func(e *subjects.Envelope) { e.N = n } }
	src := subjects.Source{Source: 1, Name: "alice", Encoding: "opus", SampleRate: 48000, Channels: 2, Language: "en"}
	progress := subjects.Progress{
		Begin: 40, Finals: 3, Covered: map[uint32]uint64{1: 98, 2: 88}, Frames: map[uint32]uint64{1: 50, 2: 44},
		Refused: map[uint32]map[string]uint64{2: {subjects.RefusedUndecodable: 1}},
		Packets: map[uint32]int64{1: 31456}, SourcesAt: 51,
	}
	begun := progress
	begun.Sources, begun.SourcesAt = []subjects.Source{src}, 0
	utterance := subjects.Utterance{
		Source: 1, Name: "alice", Utterance: "12.2.1.3", Text: "good morning", StartMS: 1840, EndMS: 2440,
		FirstFrame: 93, LastFrame: 98, Confidence: 0.9, Language: "en", Speaker: "A",
		Words: []subjects.Word{{Text: "good", StartMS: 1840, EndMS: 2050, Confidence: 0.95}, {Text: "morning", StartMS: 2060, EndMS: 2440}},
	}
	options := subjects.Options{
		Engine: "pocketsphinx", Language: "en", Labels: map[string]string{"zone": "eu"}, Tags: []string{"demo"},
		Extra: map[string]string{"endpointing": "300"}, NoInterims: true, GraceMS: 15000,
		Access: subjects.Access{Principal: "ann", Token: "9f86d081"},
	}
	const probe = "$SRV.PING.stenobus-gateway.xyz"
	const why = "spread: load 3/10 against 7/10 of w2; 4 known, 1 full, 1 tried in vain (w3: full)"
	frames, result := subjects.Frames(id), subjects.Result(id)
	inbox := func(c subjects.Channel) string { return subjects.Inbox(id, c) }
	worker := subjects.Worker("w1")
	split := subjects.Split(4).Place(id)
	return []golden{
		{"frames", frames, env(subjects.KindFrames, func(e *subjects.Envelope) {
			e.N = 101
			e.Frames = []subjects.FrameInfo{{Source: 1, Size: 5, Packet: 31456, At: 2040}, {Source: 2, Size: 4, Packet: -1, At: 2041}}
		}), []byte("audioback"), nil},
		{"start", frames, env(subjects.KindStart, func(e *subjects.Envelope) {
			e.N, e.Starts = 1, &src
			e.Frames = []subjects.FrameInfo{{Source: 1, Size: 5, Packet: 31455, At: 0}}
		}), []byte("first"), nil},
		{"stop", frames, env(subjects.KindStop, func(e *subjects.Envelope) { e.N, e.Source = 103, 2 }), []byte{}, nil},
		{"flush", frames, env(subjects.KindFlush, func(e *subjects.Envelope) { e.N, e.Source = 104, 1 }), []byte{}, nil},
		{"skip", frames, env(subjects.KindSkip, func(e *subjects.Envelope) { e.N, e.To = 90, 92 }),
			subjects.Skip{Reason: subjects.RefusedWindow, Runs: []subjects.Run{{Source: 1, Count: 2}, {Source: 0, Count: 1}}}, body[subjects.Skip](subjects.KindSkip)},
		{"end", frames, env(subjects.KindEnd, n(105)),
			subjects.End{Reason: subjects.EndClient, Accepted: map[uint32]uint64{1: 54, 2: 46}, Replayed: map[uint32]uint64{1: 5}}, body[subjects.End](subjects.KindEnd)},
		{"announce", frames, env(subjects.KindAnnounce, n(93)), subjects.Announce{Sources: []subjects.Source{src}, First: 61, Before: map[uint32]uint64{1: 40, 2: 18}}, body[subjects.Announce](subjects.KindAnnounce)},
		{"last", frames, env(subjects.KindLast, n(104)), []byte{}, nil},
		{"detach", frames, env(subjects.KindDetach, n(104)), []byte{}, nil},
		{"ready", inbox(subjects.ChannelReady), env(subjects.KindReady, nil), subjects.Ready{
			Worker: "w1", Probe: "$SRV.PING.stenobus-worker.abc", Next: 105, Covered: map[uint32]uint64{1: 98},
			Accepted: map[uint32]uint64{1: 54}, Sources: []subjects.Source{src}, Packets: map[uint32]int64{1: 31460}, AtMS: 2040, Log: 57, Begin: 40,
		}, body[subjects.Ready](subjects.KindReady)},
		{"ack", inbox(subjects.ChannelAck), env(subjects.KindAck, func(e *subjects.Envelope) { e.N, e.Log = 104, 57 }), []byte{}, nil},
		{"nak", inbox(subjects.ChannelNak), env(subjects.KindNak, func(e *subjects.Envelope) { e.N, e.To = 95, 97 }), []byte{}, nil},
		{"interim", inbox(subjects.ChannelInterim), env(subjects.KindInterim, nil), subjects.Interim{Utterance: utterance}, body[subjects.Interim](subjects.KindInterim)},
		{"release", inbox(subjects.ChannelRelease), env(subjects.KindRelease, nil),
			subjects.Release{Worker: "w1", Reason: subjects.MoveEngine, Detail: "provider answers 429"}, body[subjects.Release](subjects.KindRelease)},
		{"yield", inbox(subjects.ChannelRelease), env(subjects.KindYield, nil), []byte{}, nil},
		{"owner", result, env(subjects.KindOwner, nil),
			subjects.Owner{Progress: begun, Worker: "w1", Engine: "pocketsphinx", Reason: subjects.MoveGone, Why: why}, body[subjects.Owner](subjects.KindOwner)},
		{"final", result, env(subjects.KindFinal, nil), subjects.Final{Progress: progress, Utterance: utterance, Number: 3}, body[subjects.Final](subjects.KindFinal)},
		{"mark", result, env(subjects.KindMark, nil),
			subjects.Mark{Progress: progress, Source: 2, FirstFrame: 80, LastFrame: 88}, body[subjects.Mark](subjects.KindMark)},
		{"ended", result, env(subjects.KindEnded, nil),
			subjects.Ended{
				Progress: progress, Access: options.Access, Reason: subjects.EndClient, Accepted: map[uint32]uint64{1: 50, 2: 45},
				Replayed: map[uint32]uint64{1: 5}, Names: map[uint32]string{1: "alice", 2: "bob"},
			}, body[subjects.Ended](subjects.KindEnded)},
		{"claim", subjects.Claim, nil, subjects.ClaimRequest{
			V: 1, Session: id, Gateway: "gw1", Probe: probe, Nonce: "5e1c", Reason: subjects.MoveGone, Stamp: stamp, Options: options,
			Cell: "east", Resume: true, After: 57, Shown: true, Authenticated: true, Sent: "2026-11-24T10:00:00.25Z", Insist: true,
			Came: "2026-11-24T09:59:58Z",
		}, doc[subjects.ClaimRequest]("claim")},
		{"claim-reply", subjects.Claim, nil, subjects.ClaimReply{V: 1, Stamp: stamp, Worker: "w1"}, doc[subjects.ClaimReply]("claim reply")},
		{"claim-refused", subjects.Claim, nil, subjects.ClaimReply{V: 1, Error: &subjects.Error{
			Code: subjects.CodeNoWorker, Message: "3 workers are full", RetryAfterMS: 500,
		}}, doc[subjects.ClaimReply]("claim reply")},
		{"keep", subjects.ClaimRenew, nil, subjects.KeepRequest{V: 1, Session: id, Worker: "w1", Stamp: stamp, Options: options}, doc[subjects.KeepRequest]("keep request")},
		{"keep-reply", subjects.ClaimRenew, nil, subjects.KeepReply{V: 1, Error: &subjects.Error{Code: subjects.CodeSuperseded, Message: "epoch 3 owns the session"}}, doc[subjects.KeepReply]("keep reply")},
		{"worker-request", worker, nil, subjects.WorkerRequest{
			V: 1, Op: subjects.OpAssign, Session: id, Gateway: "gw1", Probe: probe, Reason: subjects.ReasonResume, Why: why, Stamp: stamp, Fresh: true, Options: options,
		}, doc[subjects.WorkerRequest]("worker request")},
		{"worker-request-split", worker, nil, subjects.WorkerRequest{
			V: 1, Op: subjects.OpAssign, Session: id, Gateway: "gw1", Reason: subjects.ReasonOpen, Stamp: stamp,
			Options: subjects.Options{GraceMS: 15000}, Log: &split,
		}, doc[subjects.WorkerRequest]("worker request")},
		{"worker-reply", worker, nil, subjects.WorkerReply{V: 1, Slots: 10, Sessions: 4}, doc[subjects.WorkerReply]("worker reply")},
		{"record", subjects.SessionRecord(id), nil, subjects.Record{
			V: 1, Stamp: stamp, Nonce: "5e1c", Session: id, Gateway: "gw1", Probe: probe, Worker: "w1", Reason: subjects.MoveGone, Why: why,
			Since: "2026-11-24T10:00:00Z", Joined: "2026-11-24T09:59:00Z", Granted: true, Options: options,
		}, doc[subjects.Record]("record")},
		{"worker-report", "$KV." + subjects.WorkersBucket + ".w1", nil, subjects.WorkerReport{
			V: 1, Worker: "w1", Engines: []subjects.EngineReport{{Name: "pocketsphinx", Languages: []string{"en"}}},
			Labels: map[string]string{"zone": "eu"}, Cell: "east", Slots: 10, Sessions: 4, Draining: true, Version: "0.1.0", Since: "2026-11-24T09:00:00Z",
		}, doc[subjects.WorkerReport]("worker report")},
	}
}

// text is how a golden message is written: subject, headers, an empty line, payload.
func (g golden) text() []byte {
	payload, ok := g.payload.([]byte)
	if !ok {
		payload = subjects.Encode(g.payload)
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, g.subject)
	if g.envelope != nil {
		m := g.envelope.Msg(g.subject, payload)
		for _, name := range []string{subjects.HeaderName, subjects.SourceHeader} {
			if v := m.Header.Get(name); v != "" {
				fmt.Fprintf(&b, "%s: %s\n", name, v)
			}
		}
	}
	fmt.Fprintf(&b, "\n%s\n", payload)
	return b.Bytes()
}

func read(t *testing.T, path string) *nats.Msg {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return parseGolden(t, raw)
}

// parseGolden reads what text writes.
func parseGolden(t *testing.T, raw []byte) *nats.Msg {
	t.Helper()
	head, payload, ok := strings.Cut(string(raw), "\n\n")
	if !ok {
		t.Fatalf("no empty line in %q", raw)
	}
	lines := strings.Split(head, "\n")
	m := &nats.Msg{Subject: lines[0], Header: nats.Header{}, Data: []byte(strings.TrimSuffix(payload, "\n"))}
	for _, l := range lines[1:] {
		k, v, _ := strings.Cut(l, ": ")
		m.Header[k] = []string{v}
	}
	return m
}

func TestGoldenMessages(t *testing.T) {
	t.Parallel()
	for _, g := range goldens() {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join("testdata", "v1", g.name+".msg")
			if *update {
				if err := os.WriteFile(path, g.text(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := g.text(); !bytes.Equal(got, want) {
				t.Errorf("encoded\n%s\nwant\n%s", got, want)
			}
			m := read(t, path)
			if g.envelope != nil {
				var e subjects.Envelope
				if err := e.ParseMsg(m); err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(&e, g.envelope) {
					t.Errorf("decoded %+v, want %+v", e, *g.envelope)
				}
			}
			if g.decode == nil {
				return
			}
			v, err := g.decode(m.Data)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(v, g.payload) {
				t.Errorf("decoded\n%+v\nwant\n%+v", v, g.payload)
			}
		})
	}
}

// A later minor version may add fields anywhere; a later major version is refused.
func TestOtherVersions(t *testing.T) {
	t.Parallel()
	for _, g := range goldens() {
		if g.decode == nil {
			continue
		}
		var fields map[string]any
		if err := json.Unmarshal(subjects.Encode(g.payload), &fields); err != nil {
			t.Fatal(err)
		}
		fields["invented_later"] = map[string]any{"x": 1}
		v, err := g.decode(subjects.Encode(fields))
		if err != nil || !reflect.DeepEqual(v, g.payload) {
			t.Errorf("%s with an unknown field: %+v, %v", g.name, v, err)
		}
		if g.envelope != nil {
			continue
		}
		fields["v"] = 2
		_, err = g.decode(subjects.Encode(fields))
		if !errors.Is(err, subjects.ErrVersion) || !strings.Contains(err.Error(), "has 2") || !strings.Contains(err.Error(), "speaks 1") {
			t.Errorf("%s of version 2: got %v, want an error that says both", g.name, err)
		}
		delete(fields, "v")
		if _, err = g.decode(subjects.Encode(fields)); !errors.Is(err, subjects.ErrMessage) {
			t.Errorf("%s without a version: got %v", g.name, err)
		}
	}
}

func FuzzDocuments(f *testing.F) {
	for _, g := range goldens() {
		if g.envelope == nil {
			f.Add(subjects.Encode(g.payload))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, g := range goldens() {
			if g.envelope != nil {
				continue
			}
			v, err := g.decode(b)
			if err != nil {
				continue
			}
			text := subjects.Encode(v)
			again, err := g.decode(text)
			if err != nil || !bytes.Equal(subjects.Encode(again), text) {
				t.Fatalf("%s: %s became %+v, %v", g.name, text, again, err)
			}
		}
	})
}

// PROTOCOL.md names every subject, kind, header and field, so that a worker can be
// written from it alone.
func TestProtocolPageIsComplete(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	for _, g := range goldens() {
		section := g.name
		if g.envelope != nil {
			section = string(g.envelope.Kind)
		}
		_, text, ok := strings.Cut(page, "\n### `"+section+"`")
		if !ok {
			t.Errorf("no section %q", section)
			continue
		}
		text, _, _ = strings.Cut(text, "\n### ")
		if g.decode != nil {
			for _, field := range fields(reflect.TypeOf(g.payload)) {
				if !strings.Contains(text, "`"+field+"`") && !strings.Contains(page, "| `"+field+"` | everywhere |") {
					t.Errorf("section %q does not explain the field %q", section, field)
				}
			}
		}
		example, _ := os.ReadFile(filepath.Join("testdata", "v1", g.name+".msg"))
		if !strings.Contains(text, strings.TrimSpace(string(example))) {
			t.Errorf("section %q does not show testdata/v1/%s.msg", section, g.name)
		}
	}
	for _, word := range constants(t) {
		if !strings.Contains(page, word) {
			t.Errorf("the page does not name %q", word)
		}
	}
}

// fields lists the JSON names of a type and of those inside it.
func fields(t reflect.Type) (names []string) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return fields(t.Elem())
	case reflect.Struct:
	default:
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
		names = append(names, fields(f.Type)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// constants reads every string constant of the package out of its source.
func constants(t *testing.T) (values []string) {
	t.Helper()
	for _, file := range []string{"subjects.go", "envelope.go", "messages.go", "claim.go"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		in := false
		for line := range strings.Lines(string(raw)) {
			line = strings.TrimSpace(line)
			in = in || line == "const (" || strings.HasPrefix(line, "const ")
			if in && strings.Contains(line, "= \"") {
				_, v, _ := strings.Cut(line, "= \"")
				v, _, _ = strings.Cut(v, "\"")
				values = append(values, v)
			}
			if line == ")" || strings.HasPrefix(line, "const ") && !strings.HasSuffix(line, "(") {
				in = false
			}
		}
	}
	if len(values) < 40 {
		t.Fatalf("only %d constants found: %v", len(values), values)
	}
	return values
}
