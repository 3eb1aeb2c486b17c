package mediajson

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
)

var codes = []string{
	CodeBadJSON, CodeUnknownEvent, CodeBadField, CodeBadEncoding, CodeBadPayload, CodeMissingTag, CodeMediaBeforeStart,
	CodeBlockedTag, CodeOldPacket, CodePacketRestart, CodeNotHonoured, CodeTooManySources,
}

// seed adds conversations, one message a line.
func seed(f *testing.F) {
	recorded, err := os.ReadFile("testdata/conversation.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(recorded)) {
		var m struct{ Data string }
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(m.Data))
		all = append(all, m.Data)
	}
	for _, conversation := range [][]string{
		all[:6],
		{startOf("a", opusFormat), mediaOf("a", `,"chunk":1`), mediaOf("a", `,"chunk":"2","vad":true,"audioLevel":-57,"x":null`), `{"event":"stop","stop":{"tag":"a"}}`, mediaOf("a", "")},
		{startOf("a", `{"encoding":"l16","sampleRate":8e3}`), mediaOf("a", ""), startOf("a", `{"encoding":7}`), mediaOf("a", ""), mediaOf("a", "")},
		{mediaOf("a", `,"chunk":2000`), mediaOf("a", `,"chunk":1`), mediaOf("a", `,"chunk":1`)},
		{startOf("a", `{"encoding":"OPUS","sampleRate":"48000"}`), startOf("b", `{"encoding":"ogg","channels":0,"parameters":{}}`), startOf("c", `{"encoding":"l16","sampleRate":1000,"channels":255,"x":{"y":{"z":null}}}`)},
		{`{"event":"start","start":{"tag":"a","diarize":true,"mediaFormat":{"encoding":"opus"}}}`, `{"event":"start","start":{"diarize": false,"tag":"a","mediaFormat":{"encoding":"l16","sampleRate":-8000}}}`},
		{`{"event":"ping","id":1}`, `{"event":"ping","id":-1.5e7}`, `{"event":"session-end"}`, `[]`, `null`, `{"event":"x"}`},
		{`{"event":"media","media":{"tag":"a","tag":"é","payload":"Y W-_","chunk":"007","timestamp":07}}`, `{"\u0065vent":"media","media":{"tag":"a","payload":"\/\/\/\/"}}`},
		{"{\"event\":\"media\",\"media\":{\"tag\":\"\xff\",\"payload\":\"YWJj\",\"chunk\":123456789012345678901}}"},
	} {
		f.Add([]byte(strings.Join(conversation, "\n")))
	}
}

// FuzzDecode: any conversation gives events that a session may trust.
func FuzzDecode(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, conversation []byte) {
		conv, _ := open(t, Config{Engines: []string{"x"}}, anyOutput+"&provider=y")
		live := map[string]bool{}
		for m := range bytes.Lines(conversation) {
			conv.Decode(websocket.MessageText, m, func(ev dialect.Event) {
				checkEvent(t, ev, live)
				for _, b := range conv.Note(ev.Note) {
					if !json.Valid(b) {
						t.Errorf("note %s", b)
					}
				}
			})
		}
	})
}

func checkEvent(t *testing.T, ev dialect.Event, live map[string]bool) {
	t.Helper()
	named := func() {
		if n := units(ev.Tag); n == 0 || n > maxTagUnits || !utf8.ValidString(ev.Tag) {
			t.Errorf("tag %q in %s", ev.Tag, show(ev))
		}
	}
	switch ev.Kind {
	case dialect.Start:
		named()
		live[ev.Tag] = true
		f := ev.Format
		if !slices.Contains([]string{"opus", "ogg-opus", "l16"}, f.Encoding) || f.SampleRate < 1000 || f.SampleRate > 384000 || f.Channels < 1 || f.Channels > 255 {
			t.Errorf("format %+v", f)
		}
	case dialect.Media:
		named()
		if !live[ev.Tag] || len(ev.Payload) == 0 || ev.Packet < -1 || ev.TimeMS < -1 {
			t.Errorf("live %t: %s", live[ev.Tag], show(ev))
		}
	case dialect.Stop:
		named()
		live[ev.Tag] = false
	case dialect.End:
	case dialect.Reply:
		if !json.Valid(ev.Payload) {
			t.Error(show(ev))
		}
	case dialect.Notice:
		n := ev.Note
		if !slices.Contains(codes, n.Code) || n.Message == "" || n.Field == "" || n.Allowed == "" || n.Event != dialect.EventWarning || len(n.Message) > 1000 || units(n.Tag) > maxTagUnits {
			t.Errorf("note %+v", n)
		}
	default:
		t.Errorf("event of kind %d", ev.Kind)
	}
}

// FuzzScan: the short way and the long way say the same.
func FuzzScan(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, conversation []byte) {
		short, _ := open(t, Config{}, anyOutput)
		long, _ := open(t, Config{}, anyOutput)
		long.long = true
		wantLines(t, decode(short, strings.Split(string(conversation), "\n")...), decode(long, strings.Split(string(conversation), "\n")...))
		// A message may hold line ends as well.
		wantLines(t, decode(short, string(conversation)), decode(long, string(conversation)))
	})
}

// What bridges write is read in the short way.
func TestShortWayIsTaken(t *testing.T) {
	t.Parallel()
	recorded, err := os.ReadFile("testdata/conversation.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	taken := map[string]int{}
	for line := range strings.Lines(string(recorded)) {
		var m struct{ Data string }
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if c, ok := scanControl([]byte(m.Data)); ok {
			taken[string(c.event)]++
		}
	}
	if taken["start"] == 0 || taken["ping"] == 0 {
		t.Errorf("the short way is for %v, want start and ping", taken)
	}
}

// FuzzBase64: the lenient decoder knows what the strict ones know.
func FuzzBase64(f *testing.F) {
	f.Add("YWJj", []byte("abc"))
	f.Add("Y W-_=\n", []byte{0xff, 0xfe})
	f.Fuzz(func(t *testing.T, text string, audio []byte) {
		got, ok := decodeBase64(make([]byte, len(text)), []byte(text))
		if ok != (len(got) > 0) && ok {
			t.Errorf("%q is accepted as nothing", text)
		}
		if want, err := base64.StdEncoding.DecodeString(text); err == nil && (ok != (len(want) > 0) || !bytes.Equal(got, want)) {
			t.Errorf("%q: got %x %t, want %x", text, got, ok, want)
		}
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			s := e.EncodeToString(audio)
			spread := strings.Join(strings.Split(s, ""), " \t")
			for _, s := range []string{s, spread} {
				if got, ok := decodeBase64(make([]byte, len(s)), []byte(s)); ok != (len(audio) > 0) || !bytes.Equal(got, audio) {
					t.Errorf("%q: got %x %t, want %x", s, got, ok, audio)
				}
			}
		}
	})
}

// A byte that stands for itself does so at each of the eight places.
func TestEightVerbatim(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		for at := range 8 {
			b := []byte("AZaz09+/")
			b[at] = byte(c)
			if got := eightVerbatim(binary.LittleEndian.Uint64(b)); got != verbatim[c] {
				t.Errorf("byte %#x at %d: %t", c, at, got)
			}
		}
	}
}
