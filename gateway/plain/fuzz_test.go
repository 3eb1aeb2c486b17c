package plain

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
)

var codes = []string{
	CodeEmptyMessage, CodeBadPacket, CodeBadOgg, CodePartSample, CodeBadWAV, CodeAudioRefused,
	CodeBadJSON, CodeUnknownMessage, CodeUnknownField, CodeBadField,
}

// fuzzQueries are how the fuzzed clients connect.
var fuzzQueries = []string{"", "format=vosk&sample_rate=8000", "channels=3", "encoding=opus", "encoding=ogg-opus&format=vosk", "encoding=alaw&channels=2"}

// FuzzDecode: any conversation, one message a line, gives events that a session may
// trust and messages that a client can read.
func FuzzDecode(f *testing.F) {
	for _, name := range []string{"json", "vosk"} {
		recorded, err := os.ReadFile("testdata/" + name + ".jsonl")
		if err != nil {
			f.Fatal(err)
		}
		var all []string
		for line := range strings.Lines(string(recorded)) {
			var s step
			if err := json.Unmarshal([]byte(line), &s); err != nil {
				f.Fatal(err)
			}
			all = append(all, s.Text+string(s.Audio))
		}
		f.Add(uint8(len(all)), []byte(strings.Join(all, "\n")))
	}
	f.Add(uint8(0), []byte(file(1, 2, 44100, 16, "abcd", 4)+"\nabcde\n"+file(3, 1, 8000, 32, "", 4)))
	f.Add(uint8(4), []byte(page(2, 0, "OpusHead\x01\x01\x00\x00\x80\xbb\x00\x00\x00\x00\x00")+"\nx"+page(0, 48000, "abc")+page(0, -1, "abc")))
	f.Add(uint8(0), []byte("OggS\nO\n\nRIFF\n1234WAVE"))
	f.Add(uint8(2), []byte(`abc`+"\n"+`{"config":{"sample_rate":1e3,"channels":8,"encoding":"mulaw","language":"de"}}`+"\nabcdefghi\n"+`{"eof":1}`))
	f.Fuzz(func(t *testing.T, how uint8, conversation []byte) {
		conv, _ := open(t, fuzzQueries[int(how)%len(fuzzQueries)])
		c := checker{t: t, conv: conv}
		for m := range bytes.SplitSeq(conversation, []byte("\n")) {
			kind := websocket.MessageBinary
			if bytes.HasPrefix(m, []byte("{")) {
				kind = websocket.MessageText
			}
			replies := c.replies
			conv.Decode(kind, m, c.event)
			// A megabyte is too little for an answer to wait.
			if _, rhythmic := conv.(*vosk); rhythmic && kind == websocket.MessageBinary && len(conversation) < 1<<16 && c.replies != replies+1 {
				t.Errorf("%d answers to one binary message", c.replies-replies)
			}
			c.client(conv.Result(dialect.Result{Type: dialect.TypeFinal, Text: string(m), LastFrame: uint64(len(m))}))
		}
		c.client(conv.Note(dialect.Note{Event: dialect.EventEnded}))
	})
}

// checker looks at what one conversation gives.
type checker struct {
	t       *testing.T
	conv    dialect.Conversation
	format  dialect.Format
	replies int
}

func (c *checker) client(messages [][]byte) {
	for _, m := range messages {
		if !json.Valid(m) {
			c.t.Errorf("message %q", m)
		}
	}
}

func (c *checker) event(ev dialect.Event) {
	switch ev.Kind {
	case dialect.Start:
		c.format = ev.Format
		_, known := encodings[ev.Format.Encoding]
		if !known || !rates.holds(float64(ev.Format.SampleRate)) || !channels(ev.Format.Encoding).holds(float64(ev.Format.Channels)) || ev.Tag != source {
			c.t.Errorf("start %+v", ev)
		}
	case dialect.Media:
		whole := max(width(c.format.Encoding)*c.format.Channels, 1)
		if c.format.Encoding == "" || len(ev.Payload) == 0 || len(ev.Payload)%whole != 0 || ev.Packet != -1 || ev.Tag != source {
			c.t.Errorf("%s in %+v", show(ev), c.format)
		}
		if ev.TimeMS < -1 || ev.TimeMS >= 0 && c.format.Encoding != encodingOggOpus {
			c.t.Errorf("%s at %d in %+v", show(ev), ev.TimeMS, c.format)
		}
	case dialect.Reply:
		c.replies++
		c.client([][]byte{ev.Payload})
	case dialect.Notice:
		n := ev.Note
		if !slices.Contains(codes, n.Code) || n.Message == "" || n.Field == "" || n.Allowed == "" || n.Event != dialect.EventWarning || len(n.Message) > 1000 {
			c.t.Errorf("note %+v", n)
		}
		c.client(c.conv.Note(n))
	case dialect.Flush, dialect.End:
	default:
		c.t.Errorf("event of kind %d", ev.Kind)
	}
}

// FuzzPieces: where audio is cut into messages changes nothing of what is heard.
func FuzzPieces(f *testing.F) {
	f.Add(uint8(0), uint16(3), []byte(file(1, 1, 8000, 16, "abcdefgh", 6)))
	f.Add(uint8(0), uint16(1), []byte(file(7, 1, 8000, 8, "abcdefgh", 5)+"data\x01\x00\x00\x00x"))
	f.Add(uint8(2), uint16(5), []byte(strings.Repeat("abc", 5000)))
	f.Add(uint8(0), uint16(2), []byte("OggSxyz"))
	f.Fuzz(func(t *testing.T, how uint8, size uint16, data []byte) {
		if len(data) == 0 || size == 0 {
			return
		}
		heard := func(size int) (audio []byte) {
			conv, _ := open(t, []string{"", "encoding=l16", "channels=3", "encoding=alaw", "encoding=ogg-opus"}[int(how)%5])
			emit := func(ev dialect.Event) {
				switch ev.Kind {
				case dialect.Start:
					audio = append(audio, show(ev)...)
				case dialect.Media:
					audio = append(audio, ev.Payload...)
				}
			}
			for piece := range slices.Chunk(data, size) {
				conv.Decode(websocket.MessageBinary, piece, emit)
			}
			conv.Decode(websocket.MessageText, []byte(`{"eof":1}`), emit)
			return audio
		}
		if whole, cut := heard(len(data)), heard(int(size)); !bytes.Equal(whole, cut) {
			t.Errorf("whole %q\ncut   %q", whole, cut)
		}
	})
}
