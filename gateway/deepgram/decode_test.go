package deepgram

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
)

func TestCommands(t *testing.T) {
	t.Parallel()
	c, _ := open(t, raw)
	wantLines(t, say(c,
		`{"type":"KeepAlive"}`, `{ "type": "Finalize" }`, `{"type":"CloseStream","x":1}`,
		`{"type":"Configure"}`, `{}`, `{"type":7}`, `[]`, `nonsense`, ``),
		"flush", "end", "notice unknown_type", "notice unknown_type", "notice bad_json", "notice bad_json", "notice bad_json", "notice bad_json")
	wantLines(t, send(c, []byte{}), "end")
}

func TestSamplesAreCut(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		query string
		sizes []int
		want  []string
	}{
		"as they come":      {raw, []int{640, 640}, []string{"start l16 16000 1", "media 640 bytes", "media 640 bytes"}},
		"100 ms at most":    {raw, []int{8000}, []string{"start l16 16000 1", "media 3200 bytes", "media 3200 bytes", "media 1600 bytes"}},
		"odd bytes":         {raw, []int{21, 20, 1, 1, 1}, []string{"start l16 16000 1", "media 20 bytes", "media 20 bytes", `media "\x00\x00"`, `media "\x00\x00"`}},
		"stereo":            {raw + "&channels=2", []int{23, 20}, []string{"start l16 16000 2", "media 20 bytes", "media 20 bytes"}},
		"mulaw":             {"encoding=mulaw&sample_rate=8000", []int{1000}, []string{"start mulaw 8000 1", "media 800 bytes", "media 200 bytes"}},
		"alaw stereo":       {"encoding=alaw&sample_rate=8000&channels=2", []int{1, 17}, []string{"start alaw 8000 2", "media 18 bytes"}},
		"the widest":        {"encoding=linear16&sample_rate=384000&channels=8", []int{40000}, []string{"start l16 384000 8", "media 32768 bytes", "media 7232 bytes"}},
		"less than a frame": {raw, []int{1}, []string{"start l16 16000 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := open(t, tt.query)
			var messages [][]byte
			for _, n := range tt.sizes {
				messages = append(messages, make([]byte, n))
			}
			wantLines(t, send(c, messages...), tt.want...)
		})
	}
}

// What is held back when the stream ends is told, once, before the session ends.
func TestStreamsThatAreCutOff(t *testing.T) {
	t.Parallel()
	wav := riff(fmtChunk(1, 2, 16000, 16, ""), chunk("data", 0, strings.Repeat("s", 20)))
	ogg := page(2, 0, opusHead(1)) + page(0, 480, "packet")
	for _, tt := range []struct{ name, query, stream, told string }{
		{"samples", raw, strings.Repeat("s", 40), ""},
		{"samples and a half", raw, strings.Repeat("s", 41), "the stream ended within a sample of all channels: its last 1 bytes are dropped"},
		{"packets", "encoding=opus", "packet", ""},
		{"WAV", "", wav, ""},
		{"WAV within a sample", "", wav[:len(wav)-1], "the stream ended within a sample of all channels: its last 3 bytes are dropped"},
		{"WAV within its header", "", wav[:30], "the stream ended within a header of WAV: its last 30 bytes are dropped"},
		{"WAV between chunks", "", wav[:36], "the stream ended within a header of WAV: its last 36 bytes are dropped"},
		{"Ogg", "", ogg, ""},
		{"Ogg within a page", "", ogg[:len(ogg)-1], "the stream ended within a page of Ogg: its last 33 bytes are dropped"},
		{"Ogg that is called so", "encoding=ogg-opus", ogg[:20], "the stream ended within a page of Ogg: its last 20 bytes are dropped"},
		{"what may be anything", "", "OggS"[:3], "the stream ended within a beginning of a container: its last 3 bytes are dropped"},
		{"nothing", "", "", ""},
		{"what is not read", "", "ID3 and what follows", ""},
	} {
		for _, end := range []string{`{"type":"CloseStream"}`, ""} {
			t.Run(tt.name+end, func(t *testing.T) {
				t.Parallel()
				c, _ := open(t, tt.query)
				if tt.stream != "" {
					send(c, []byte(tt.stream))
				}
				var got []string
				hear := func(ev dialect.Event) {
					if got = append(got, show(ev)); ev.Kind == dialect.Notice {
						got[len(got)-1] += ": " + ev.Note.Message
					}
				}
				for range 2 { // the second has nothing to tell
					if end == "" {
						c.Decode(websocket.MessageBinary, nil, hear)
					} else {
						c.Decode(websocket.MessageText, []byte(end), hear)
					}
				}
				want := []string{"end", "end"}
				if c.unusable && end == "" {
					want = nil // its end is on the way
				}
				if tt.told != "" {
					want = append([]string{"notice cut_off: " + tt.told}, want...)
				}
				wantLines(t, got, want...)
			})
		}
	}
}

func TestOpusPackets(t *testing.T) {
	t.Parallel()
	c, _ := open(t, "encoding=opus&sample_rate=48000")
	wantLines(t, send(c, []byte("one"), make([]byte, maxPacket+1), []byte("two")),
		"start opus 48000 1", `media "one"`, "notice bad_payload", `media "two"`)
	c, _ = open(t, "encoding=opus&sample_rate=48000")
	wantLines(t, send(c, []byte(page(2, 0, opusHead(2)))), "start ogg-opus 48000 2", "media 47 bytes at 0")
}

// Each stream is understood however it is cut.
func TestContainers(t *testing.T) {
	t.Parallel()
	pcm := strings.Repeat("s", 20)
	extensible := strings.Repeat("\x00", 8) + "\x01\x00" + strings.Repeat("\x00", 14)
	for name, tt := range map[string]struct {
		stream string
		want   []string
	}{
		"WAV": {riff(fmtChunk(1, 1, 16000, 16, ""), chunk("data", -1, pcm)), []string{"start l16 16000 1", "media 20 bytes"}},
		"WAV of unknown length": {riff(fmtChunk(1, 2, 44100, 16, ""), chunk("data", 0xffffffff, pcm)),
			[]string{"start l16 44100 2", "media 20 bytes"}},
		"WAV of no length": {riff(fmtChunk(7, 1, 8000, 8, ""), chunk("data", 0, pcm)), []string{"start mulaw 8000 1", "media 20 bytes"}},
		"WAV with A-law and other chunks": {riff(chunk("LIST", -1, "abc")+"\x00", fmtChunk(6, 1, 8000, 8, "\x00\x00"), chunk("fact", -1, "1234"), chunk("data", -1, pcm)),
			[]string{"start alaw 8000 1", "media 20 bytes"}},
		"WAV extensible": {riff(fmtChunk(0xfffe, 1, 8000, 16, extensible), chunk("data", -1, pcm)), []string{"start l16 8000 1", "media 20 bytes"}},
		"WAV with a tail": {riff(fmtChunk(1, 1, 16000, 16, ""), chunk("data", -1, pcm), chunk("LIST", -1, "abcd")),
			[]string{"start l16 16000 1", "media 20 bytes", "notice bad_payload"}},
		"WAV of floats": {riff(fmtChunk(3, 1, 16000, 32, ""), chunk("data", -1, pcm)),
			[]string{"unusable: WAV with format tag 3 is not read here: 1 (PCM), 6 (A-law) and 7 (mu-law) are"}},
		"WAV of 24 bits":          {riff(fmtChunk(1, 1, 16000, 24, ""), "x"), []string{"unusable: WAV with 24 bits a sample is not read here: 16 are"}},
		"WAV of 9 channels":       {riff(fmtChunk(1, 9, 16000, 16, ""), "x"), []string{"unusable: WAV with 9 channels is not read here: 1 to 8 are"}},
		"WAV that is slow":        {riff(fmtChunk(1, 1, 999, 16, ""), "x"), []string{"unusable: WAV with 999 samples/s is not read here: 1000 to 384000 are"}},
		"WAV without format":      {riff(chunk("data", -1, pcm)), []string{"unusable: WAV whose data chunk comes before its fmt chunk is not read here"}},
		"WAV with a short format": {riff(chunk("fmt ", -1, "abcd")), []string{"unusable: WAV with a fmt chunk of 4 bytes is not read here"}},
		"WAV with a vast header":  {riff(chunk("junk", 1<<21, "x")), []string{"unusable: WAV with more than 1048576 bytes before its data chunk is not read here"}},
		"RIFF of another kind":    {chunk("RIFF", -1, "AVI "+pcm), []string{"unusable: RIFF without WAVE is not read here"}},
		"WebM":                    {"\x1a\x45\xdf\xa3 and more", []string{"unusable: WebM is not read here"}},
		"MP3":                     {"ID3 and what follows", []string{"unusable: MP3 is not read here"}},
		"FLAC":                    {"fLaC and what follows", []string{"unusable: FLAC is not read here"}},
		"MP4":                     {"\x00\x00\x00\x20ftypM4A ", []string{"unusable: MP4 is not read here"}},
		"something":               {"something else", []string{"unusable: the audio begins with no known container, and no encoding was given"}},
		"hardly anything":         {"some", nil},
		"Ogg with something else": {page(2, 0, "\x01vorbis and more"), []string{"unusable: Ogg that holds no Opus is not read here"}},
		"Ogg": {page(2, 0, opusHead(1)) + page(0, 0, "OpusTags") + page(0, 480+48000, pcm) + page(0, -1, pcm) + page(4, 480+96000, pcm),
			[]string{"start ogg-opus 48000 1", "media 47 bytes at 0", "media 36 bytes at 0", "media 48 bytes at 0", "media 48 bytes at 1000", "media 48 bytes at 1000"}},
		"Ogg joined late": {page(2, 0, opusHead(2)) + page(0, 1<<40, pcm) + page(0, 1<<41, pcm),
			[]string{"start ogg-opus 48000 2", "media 47 bytes at 0", "media 48 bytes at 0", "media 48 bytes"}},
		"Ogg joined in the middle": {page(0, 48000, pcm) + page(0, 96000, pcm), []string{"start ogg-opus 48000 1", "media 96 bytes"}},
		"Ogg in chains": {page(2, 0, opusHead(1)) + page(4, 480+24000, pcm) + page(2, 0, opusHead(1)) + page(4, 480+24000, pcm) + page(0, 0, pcm),
			[]string{"start ogg-opus 48000 1", "media 47 bytes at 0", "media 48 bytes at 0", "media 47 bytes at 500", "media 48 bytes at 500", "media 48 bytes at 1000"}},
		"Ogg that never comes": {"OggS" + strings.Repeat("x", 1<<17), []string{"unusable: no page of an Ogg stream comes within 65307 bytes"}},
		"Ogg with rubbish between": {page(2, 0, opusHead(1)) + "rubbish" + page(0, 480, pcm) + "Ogg",
			[]string{"start ogg-opus 48000 1", "media 47 bytes at 0", "notice bad_payload", "media 48 bytes at 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{len(tt.stream), 1, 5, 13} {
				c, _ := open(t, "")
				wantLines(t, merged(c, slices.Collect(slices.Chunk([]byte(tt.stream), size))), tt.want...)
			}
		})
	}
}

// merged is send, with frames that have no time of their own made one again.
func merged(c *conversation, messages [][]byte) (lines []string) {
	var events []dialect.Event
	for _, m := range messages {
		c.Decode(websocket.MessageBinary, m, func(ev dialect.Event) {
			last := len(events) - 1
			if ev.Kind == dialect.Media && ev.TimeMS < 0 && events[last].Kind == dialect.Media && events[last].TimeMS < 0 {
				events[last].Payload = append(events[last].Payload, ev.Payload...)
				return
			}
			events = append(events, ev)
		})
	}
	for _, ev := range events {
		lines = append(lines, show(ev))
	}
	return lines
}

// What the client's buffer holds next changes no frame.
func TestFramesAreCopies(t *testing.T) {
	t.Parallel()
	for _, query := range []string{raw, "encoding=opus", ""} {
		c, _ := open(t, query)
		message := []byte(page(2, 0, opusHead(1)))
		if query != "" {
			message = bytes.Repeat([]byte("x"), 40)
		}
		want := bytes.Clone(message)
		var got []byte
		c.Decode(websocket.MessageBinary, message, func(ev dialect.Event) { got = append(got, ev.Payload...) })
		var frame []byte
		c.Decode(websocket.MessageBinary, message, func(ev dialect.Event) { frame = ev.Payload })
		clear(message)
		if !bytes.Equal(got, want) || !bytes.Equal(frame, want) {
			t.Errorf("%s: %q, then %q", query, got, frame)
		}
	}
}
