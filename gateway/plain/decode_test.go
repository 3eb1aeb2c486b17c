package plain

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
)

// show is an event in one line.
func show(ev dialect.Event) string {
	switch ev.Kind {
	case dialect.Start:
		s := fmt.Sprintf("start %s/%d/%d", ev.Format.Encoding, ev.Format.SampleRate, ev.Format.Channels)
		return strings.TrimSpace(s + " " + ev.Language)
	case dialect.Media:
		at := ""
		if ev.TimeMS >= 0 {
			at = fmt.Sprintf(" at %d", ev.TimeMS)
		}
		if len(ev.Payload) > 16 {
			return fmt.Sprintf("media of %d%s", len(ev.Payload), at)
		}
		return fmt.Sprintf("media %+q%s", ev.Payload, at)
	case dialect.Flush:
		return "flush"
	case dialect.End:
		return "end"
	case dialect.Reply:
		return "reply " + string(ev.Payload)
	case dialect.Notice:
		return fmt.Sprintf("notice %s %s", ev.Note.Code, ev.Note.Field)
	}
	return fmt.Sprintf("kind %d", ev.Kind)
}

// say tells messages apart as a client would: what begins with { or ~ is text, and the
// rest is audio.
func say(conv dialect.Conversation, messages ...string) (got []string) {
	for _, m := range messages {
		kind := websocket.MessageBinary
		if strings.HasPrefix(m, "{") || strings.HasPrefix(m, "~") {
			kind, m = websocket.MessageText, strings.TrimPrefix(m, "~")
		}
		conv.Decode(kind, []byte(m), func(ev dialect.Event) { got = append(got, show(ev)) })
	}
	return got
}

func wantLines(tb testing.TB, got, want []string) {
	tb.Helper()
	if !slices.Equal(got, want) {
		tb.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// file is a WAV file as programs write it.
func file(tag, channels, rate, bits int, samples string, size uint32) string {
	var b bytes.Buffer
	le := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	b.WriteString("RIFF\xff\xff\xff\xffWAVELIST\x03\x00\x00\x00abc\x00fmt \x10\x00\x00\x00")
	le(uint16(tag))
	le(uint16(channels))
	le(uint32(rate))
	le(uint32(rate * channels * bits / 8))
	le(uint16(channels * bits / 8))
	le(uint16(bits))
	b.WriteString("data")
	le(size)
	b.WriteString(samples)
	return b.String()
}

// page is one of an Ogg stream, with a checksum of 0 and one packet.
func page(flags byte, granule int64, packet string) string {
	b := append([]byte("OggS\x00"), flags)
	b = binary.LittleEndian.AppendUint64(b, uint64(granule))
	b = append(b, make([]byte, 12)...)
	return string(append(b, 1, byte(len(packet)))) + packet
}

const start16 = "start l16/16000/1"

func TestDecode(t *testing.T) {
	t.Parallel()
	second := strings.Repeat("ab", 16000)
	head := page(2, 0, "OpusHead\x01\x02\x00\x00\x80\xbb\x00\x00\x00\x00\x00")
	first, next := page(0, 48000, "abc"), page(0, 96000, "abc")
	for name, tc := range map[string]struct {
		query string
		say   []string
		want  []string
	}{
		"audio":      {say: []string{"abcd", "ef"}, want: []string{start16, `media "abcd"`, `media "ef"`}},
		"empty":      {say: []string{"", "ab"}, want: []string{"notice empty_message audio", start16, `media "ab"`}},
		"odd bytes":  {query: "encoding=l16", say: []string{"a", "b", "cde", "fg"}, want: []string{start16, `media "ab"`, `media "cd"`, `media "ef"`}},
		"left alone": {query: "encoding=l16", say: []string{"abc", `{"eof":1}`}, want: []string{start16, `media "ab"`, "notice part_sample audio", "end"}},
		"two channels": {
			query: "channels=2", say: []string{"abcdef", "ghi"}, want: []string{"start l16/16000/2", `media "abcd"`, `media "efgh"`},
		},
		"100 ms a frame": {
			say:  []string{second[:3201], second[1 : 3200+2400]},
			want: []string{start16, "media of 3200", "media of 3200", "media of 2400"},
		},
		"least rate": {query: "sample_rate=1000&channels=8", say: []string{second[:1601]}, want: []string{"start l16/1000/8", "media of 1600"}},
		"telephone":  {query: "encoding=mulaw", say: []string{second[:801]}, want: []string{"start mulaw/8000/1", "media of 800", `media "a"`}},
		"opus":       {query: "encoding=opus", say: []string{"abc", second[:30000]}, want: []string{"start opus/48000/2", `media "abc"`, "media of 30000"}},
		"too large for opus": {
			query: "encoding=opus", say: []string{second + second, "a"}, want: []string{"notice bad_packet audio", "start opus/48000/2", `media "a"`},
		},
		"ogg": {
			query: "encoding=ogg-opus", say: []string{head + first[:9], first[9:] + "rest", next},
			want: []string{"start ogg-opus/48000/2", "media of 47 at 0", "media of 31 at 0", "notice bad_ogg audio", "media of 31 at 1000"},
		},
		"ogg unannounced": {say: []string{"O", "gg", "S", head[4:]}, want: []string{"start ogg-opus/48000/2", "media of 47 at 0"}},
		"ogg that is called opus": {
			query: "encoding=opus", say: []string{head[:20], head[20:]}, want: []string{"start ogg-opus/48000/2", "media of 47 at 0"},
		},
		"ogg that is none": {
			query: "encoding=ogg-opus", say: []string{strings.Repeat("ab", 1<<16), `{"eof":1}`},
			want: []string{"notice bad_ogg audio", "notice bad_ogg audio", "end"},
		},
		"ogg cut off": {query: "encoding=ogg-opus", say: []string{head[:40], `{"eof":1}`}, want: []string{"notice bad_ogg audio", "end"}},
		"no ogg":      {say: []string{"Og", "g!"}, want: []string{start16, `media "Ogg!"`}},
		"ogg, but l16 was said": {
			query: "sample_rate=16000", say: []string{"OggS"}, want: []string{start16, `media "OggS"`},
		},
		"RIFF of another kind": {say: []string{"RIFF1234AVI "}, want: []string{start16, `media "RIFF1234AVI "`}},
		"end within the magic": {say: []string{"RIFF", `{"event":"end"}`}, want: []string{start16, `media "RIFF"`, "end"}},
		"flush and ping": {
			say: []string{`{"event":"flush"}`, `{"reset" : 1}`, `{"event":"ping","id":7}`, `{"event":"ping","id":"a"}`, `{"event":"ping","id":[1]}`, `{"event":"ping"}`},
			want: []string{
				"flush", "flush", `reply {"type":"event","event":"pong","id":7}`, `reply {"type":"event","event":"pong","id":"a"}`,
				`reply {"type":"event","event":"pong"}`, `reply {"type":"event","event":"pong"}`,
			},
		},
		"ends": {
			say:  []string{`{"eof" : 1}`, `{"eof":true}`, `{"event":"end"}`, `{"eof":0}`, `{"eof":"1"}`, `{"reset":2}`},
			want: []string{"end", "end", "end", "notice bad_field eof", "notice bad_field eof", "notice bad_field reset"},
		},
		"unknown": {
			say: []string{`{}`, `{"hello":1}`, `{"event":"dance","x":1}`, `{"event":5}`, `{"eof":1,"x":1,"a":2}`, "~EOF", "~[]", "~null", "~"},
			want: []string{
				"notice unknown_message message", "notice unknown_message message", "notice unknown_message event", "notice unknown_message event",
				"end", "notice unknown_field a", "notice bad_json message", "notice bad_json message", "notice bad_json message", "notice bad_json message",
			},
		},
		"config": {
			say:  []string{`{"config":{"sample_rate":8000.0}}`, "OggS", `{"config":{"sample_rate":8e3}}`, "ab", `{"config":{"sample_rate":48000,"channels":2,"language":"de"}}`, "abcd"},
			want: []string{"start l16/8000/1", `media "OggS"`, `media "ab"`, "start l16/48000/2 de", `media "abcd"`},
		},
		"config of another encoding": {
			say:  []string{`{"config":{"encoding":"ALAW"}}`, "abc", `{"config":{"encoding":"opus"}}`, "abc"},
			want: []string{"start alaw/8000/1", `media "abc"`, "start opus/48000/2", `media "abc"`},
		},
		"config within a sample": {
			query: "sample_rate=8000", say: []string{"abc", `{"config":{"sample_rate":8000}}`, "d", "e", `{"config":{"sample_rate":16000}}`, "ef"},
			want: []string{"start l16/8000/1", `media "ab"`, `media "cd"`, "notice part_sample audio", start16, `media "ef"`},
		},
		"config within the magic": {
			say: []string{"RIFF", `{"config":{"sample_rate":16000}}`, "abcd"}, want: []string{start16, `media "RIFF"`, `media "abcd"`},
		},
		"config in part": {
			say: []string{`{"config":{"sample_rate":7,"channels":"2","encoding":"mp3","language":"e n","model":"x","phrase_list":["a"],"max_alternatives":3,"words":false,"spk":1}}`, "ab"},
			want: []string{
				"notice bad_field config.encoding", "notice bad_field config.sample_rate", "notice bad_field config.channels", "notice bad_field config.language",
				"notice bad_field config.words", "notice bad_field config.max_alternatives", "notice bad_field config.phrase_list", "notice bad_field config.model",
				"notice unknown_field config.spk", start16, `media "ab"`,
			},
		},
		"config of vosk": {
			query: "format=vosk", say: []string{`{"config":{"words":"yes","max_alternatives":-1}}`, `{"config":{"words":0,"max_alternatives":20}}`},
			want: []string{"notice bad_field config.words", "notice bad_field config.max_alternatives"},
		},
		"config that is none": {say: []string{`{"config":5}`, `{"config":null}`, `{"config":{"words":true,"max_alternatives":0}}`, `{"config":{"words":1,"max_alternatives":1}}`}, want: []string{"notice bad_field config", "notice bad_field config"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conv, _ := open(t, tc.query)
			wantLines(t, say(conv, tc.say...), tc.want)
		})
	}
}

func TestWAV(t *testing.T) {
	t.Parallel()
	header := file(1, 1, 8000, 16, "", 4)
	for name, tc := range map[string]struct {
		say  []string
		want []string
	}{
		"one message":      {[]string{file(1, 2, 44100, 16, "abcd", 4)}, []string{"start l16/44100/2", `media "abcd"`}},
		"from a pipe":      {[]string{file(1, 1, 8000, 16, "ab", 0xffffffff), "cd"}, []string{"start l16/8000/1", `media "ab"`, `media "cd"`}},
		"unknown size":     {[]string{file(1, 1, 8000, 16, "ab", 0), "cd"}, []string{"start l16/8000/1", `media "ab"`, `media "cd"`}},
		"byte by byte":     {strings.Split(header+"abcd", ""), []string{"start l16/8000/1", `media "ab"`, `media "cd"`}},
		"more chunks":      {[]string{header + "abcdLIST\x02\x00\x00\x00xy", "data\x02\x00\x00\x00ef"}, []string{"start l16/8000/1", `media "abcd"`, `media "ef"`}},
		"padded":           {[]string{file(7, 1, 8000, 8, "abc\x00", 3) + "data\x01\x00\x00\x00d"}, []string{"start mulaw/8000/1", `media "abc"`, `media "d"`}},
		"a file behind":    {[]string{header + "abcd" + file(6, 1, 8000, 8, "ef", 2)}, []string{"start l16/8000/1", `media "abcd"`, "start alaw/8000/1", `media "ef"`}},
		"extensible":       {[]string{strings.Replace(strings.Replace(header, "fmt \x10", "fmt \x1a", 1), "\x10\x00data", "\x10\x00\x18\x00\x10\x00\x04\x00\x00\x00\x01\x00data", 1) + "ab"}, []string{"start l16/8000/1", `media "ab"`}},
		"24 bits":          {[]string{file(1, 1, 8000, 24, "abc", 3), "def"}, []string{"notice bad_wav audio", "notice audio_refused audio"}},
		"float":            {[]string{file(3, 1, 8000, 32, "abcd", 4)}, []string{"notice bad_wav audio"}},
		"9 channels":       {[]string{file(1, 9, 8000, 16, "", 4)}, []string{"notice bad_wav audio"}},
		"a rate too high":  {[]string{file(1, 1, 500000, 16, "", 4)}, []string{"notice bad_wav audio"}},
		"no format":        {[]string{"RIFF1234WAVEdata\x04\x00\x00\x00"}, []string{"notice bad_wav audio"}},
		"fmt too long":     {[]string{"RIFF1234WAVEfmt \xff\xff\xff\xff"}, []string{"notice bad_wav audio"}},
		"a chunk too long": {[]string{strings.Replace(header, "LIST\x03\x00\x00\x00", "LIST\x01\x00\x10\x00", 1)}, []string{"notice bad_wav audio"}},
		"samples too many": {[]string{header + "abcd\x01\x02\x03\x04\x05\x06\x07\x08"}, []string{"start l16/8000/1", `media "abcd"`, "notice bad_wav audio"}},
		"refused, then said": {
			[]string{file(3, 1, 8000, 32, "abcd", 4), `{"config":{"sample_rate":8000}}`, "ab"}, []string{"notice bad_wav audio", "start l16/8000/1", `media "ab"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conv, _ := open(t, "")
			wantLines(t, say(conv, tc.say...), tc.want)
		})
	}
}
