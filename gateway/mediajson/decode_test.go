package mediajson

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
)

var update = flag.Bool("update", false, "write testdata anew")

const (
	opusFormat = `{"encoding":"opus","sampleRate":48000,"channels":2}`
	opusStart  = "start a opus/48000/2"
	badTag     = "a string of 1 to 128 UTF-16 units"
	badRate    = "an integer from 1000 to 384000, as a number"
	badCount   = "an integer from 1 to 255, as a number"
	badNumber  = "an integer from 0, as a number or a string"
	badPayload = "notice bad_payload media.payload (base64 of one whole frame)"
	badJSON    = "notice bad_json message (a JSON object with the field event)"
	noStart    = "notice media_before_start media.tag (a tag that was started)"
	blocked    = "notice blocked_tag media.tag (a tag whose last start was valid)"
	unknown    = "notice unknown_event event (start, media, stop, ping, info, session-end)"
)

// Each case is a conversation of its own.
func TestDecode(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		query string
		say   []string
		want  []string
	}{
		"info and others say nothing": {
			say: []string{
				`{"event":"info","application":"jitsi-videobridge","version":"1"}`, `{"event":"sources","exports":[],"requests":[]}`,
				`{"event":"start-translation"}`, `{"event":"stop-translation"}`, `{"event":"pong","id":1}`,
			},
		},
		"end":                     {say: []string{`{"event":"session-end"}`}, want: []string{"end"}},
		"ping with a number":      {say: []string{`{"event":"ping","id":7}`}, want: []string{`reply {"event":"pong","id":7}`}},
		"ping, digit for digit":   {say: []string{`{"event":"ping","id":1773349879161}`, `{"id":-1.50E+02, "event":"ping"}`}, want: []string{`reply {"event":"pong","id":1773349879161}`, `reply {"event":"pong","id":-1.50E+02}`}},
		"ping with a string":      {say: []string{`{"event":"ping","id":"7"}`}, want: []string{`reply {"event":"pong"}`}},
		"ping with no id":         {say: []string{`{"event":"ping"}`, `{"event":"ping","id":null}`, `{"event":"ping","id":[1]}`}, want: []string{`reply {"event":"pong"}`, `reply {"event":"pong"}`, `reply {"event":"pong"}`}},
		"ping with an endless id": {say: []string{`{"event":"ping","id":` + strings.Repeat("1", 65) + `}`}, want: []string{`reply {"event":"pong"}`}},
		"keys stand twice": {
			say:  []string{`{"event":"start","start":{"tag":"b"},"start":{"tag":"x","tag":"a","mediaFormat":` + opusFormat + `},"event":"start"}`, `{"event":"ping","event":"session-end"}`},
			want: []string{opusStart, "end"},
		},
		"the last of two bodies counts whole": {
			say:  []string{`{"event":"media","media":{"tag":"a","chunk":5},"media":{"payload":"YWJj"}}`},
			want: []string{"notice missing_tag media.tag (" + badTag + ")"},
		},
		"names are case-sensitive": {
			say:  []string{`{"event":"session-end","Event":"ping"}`, `{"EVENT":"session-end"}`},
			want: []string{"end", unknown},
		},
		"escaped names": {say: []string{`{"\u0065vent":"session\u002dend"}`}, want: []string{"end"}},
		"no JSON":       {say: []string{``, `{`, `hello`, `{"event":"ping"} x`}, want: []string{badJSON, badJSON, badJSON, badJSON}},
		"no object":     {say: []string{`[]`, `5`, `null`, `"ping"`}, want: []string{badJSON, badJSON, badJSON, badJSON}},
		"unknown event": {say: []string{`{"event":"dtmf"}`, `{}`, `{"event":5}`}, want: []string{unknown, unknown, unknown}},
		"start":         {say: []string{startOf("a", opusFormat)}, want: []string{opusStart}},
		"start again, then otherwise": {
			say:  []string{startOf("a", opusFormat), startOf("a", opusFormat), startOf("a", `{"encoding":"l16","sampleRate":8000}`)},
			want: []string{opusStart, opusStart, "start a l16/8000/1"},
		},
		"start with all there is": {
			say:  []string{`{"event":"start","sequenceNumber":1,"start":{"tag":"a","mediaFormat":{"encoding":"opus","sampleRate":48000,"channels":2,"parameters":{"minptime":"10"}},"customParameters":{"endpointId":"a"},"diarize":false,"timestamp":123}}`},
			want: []string{opusStart},
		},
		"start that wants speakers told apart": {
			say:  []string{`{"event":"start","start":{"tag":"a","mediaFormat":` + opusFormat + `,"diarize":true}}`},
			want: []string{opusStart, "notice not_honoured start.diarize (diarize=true in the URL, which tells the engine for all sources)"},
		},
		"speakers told apart in all sources": {
			query: "&diarize=true",
			say:   []string{`{"event":"start","start":{"tag":"a","mediaFormat":` + opusFormat + `,"diarize":true}}`},
			want:  []string{opusStart},
		},
		"encodings": {
			say: []string{
				startOf("a", `{"encoding":"Opus"}`), startOf("b", `{"encoding":"ogg"}`), startOf("c", `{"encoding":"OGG-OPUS","channels":null}`),
				startOf("d", `{"encoding":"L16"}`), startOf("e", `{"encoding":"l16","sampleRate":44.1e3,"channels":2.0}`),
				startOf("f", `{"encoding":"l16","sampleRate":1000}`), startOf("g", `{"encoding":"l16","sampleRate":384000}`),
			},
			want: []string{
				opusStart, "start b ogg-opus/48000/2", "start c ogg-opus/48000/2", "start d l16/24000/1",
				"start e l16/44100/2", "start f l16/1000/1", "start g l16/384000/1",
			},
		},
		"the URL says ogg-opus": {
			query: "&encoding=ogg-opus",
			say:   []string{startOf("a", opusFormat), startOf("b", `{"encoding":"l16"}`), mediaOf("c", "")},
			want:  []string{"start a ogg-opus/48000/2", "start b l16/24000/1", "start c ogg-opus/48000/2", noStart, `media c "abc" packet -1 at -1`},
		},
		"start without a tag": {
			say: []string{`{"event":"start"}`, `{"event":"start","start":[]}`, startOf("", opusFormat), `{"event":"start","start":{"tag":null}}`, `{"event":"start","start":{"tag":5}}`},
			want: []string{
				"notice bad_field start (an object)", "notice bad_field start (an object)",
				"notice missing_tag start.tag (" + badTag + ")", "notice missing_tag start.tag (" + badTag + ")", "notice bad_field start.tag (" + badTag + ")",
			},
		},
		"tags are counted in UTF-16 units": {
			say: []string{startOf(strings.Repeat("\U0001F600", 64), opusFormat), startOf(strings.Repeat("\U0001F600", 64)+"x", opusFormat), mediaOf(strings.Repeat("x", 129), "")},
			want: []string{
				"start " + strings.Repeat("\U0001F600", 64) + " opus/48000/2",
				"notice bad_field start.tag (" + badTag + ")", "notice bad_field media.tag (" + badTag + ")",
			},
		},
		"a refused start blocks its tag only": {
			say: []string{
				startOf("a", `{"encoding":"mp3"}`), mediaOf("a", ""), mediaOf("a", ""), mediaOf("b", ""),
				startOf("a", `{}`), mediaOf("a", ""), startOf("a", opusFormat), mediaOf("a", ""),
			},
			want: []string{
				"notice bad_encoding start.mediaFormat.encoding (opus, ogg, ogg-opus, l16)", blocked,
				"start b opus/48000/2", noStart, `media b "abc" packet -1 at -1`,
				"notice bad_encoding start.mediaFormat.encoding (opus, ogg, ogg-opus, l16)", blocked,
				opusStart, `media a "abc" packet -1 at -1`,
			},
		},
		"a refused start blocks a tag that was fine": {
			say:  []string{startOf("a", opusFormat), startOf("a", `null`), mediaOf("a", "")},
			want: []string{opusStart, "notice bad_field start.mediaFormat (an object)", blocked},
		},
		"formats out of range": {
			say: []string{
				startOf("a", `{"encoding":"l16","sampleRate":999}`), startOf("a", `{"encoding":"l16","sampleRate":384001}`), startOf("a", `{"encoding":"l16","sampleRate":"8000"}`),
				startOf("a", `{"encoding":"l16","sampleRate":8000.5}`), startOf("a", `{"encoding":"opus","channels":0}`), startOf("a", `{"encoding":"opus","channels":-1}`), startOf("a", `{"encoding":"opus","channels":256}`),
				startOf("a", `{"encoding":5}`),
			},
			want: []string{
				"notice bad_field start.mediaFormat.sampleRate (" + badRate + ")", "notice bad_field start.mediaFormat.sampleRate (" + badRate + ")", "notice bad_field start.mediaFormat.sampleRate (" + badRate + ")",
				"notice bad_field start.mediaFormat.sampleRate (" + badRate + ")", "notice bad_field start.mediaFormat.channels (" + badCount + ")", "notice bad_field start.mediaFormat.channels (" + badCount + ")", "notice bad_field start.mediaFormat.channels (" + badCount + ")",
				"notice bad_encoding start.mediaFormat.encoding (opus, ogg, ogg-opus, l16)",
			},
		},
		"media before start": {
			say:  []string{mediaOf("a", `,"chunk":1`), mediaOf("a", `,"chunk":2`)},
			want: []string{opusStart, noStart, `media a "abc" packet 1 at -1`, `media a "abc" packet 2 at -1`},
		},
		"numbers as numbers and as strings": {
			say: []string{
				startOf("a", opusFormat), mediaOf("a", `,"chunk":"31456","timestamp":"268460"`), mediaOf("a", `,"chunk":31457,"timestamp":269420`),
				mediaOf("a", `,"chunk":31458.0,"timestamp":2.7038e5`), mediaOf("a", `,"chunk":null,"timestamp":null`), mediaOf("a", `,"timestamp":47`),
			},
			want: []string{
				opusStart, `media a "abc" packet 31456 at 5592`, `media a "abc" packet 31457 at 5612`,
				`media a "abc" packet 31458 at 5632`, `media a "abc" packet -1 at -1`, `media a "abc" packet -1 at 0`,
			},
		},
		"numbers that are none": {
			say: []string{startOf("a", opusFormat), mediaOf("a", `,"chunk":"x","timestamp":-48`), mediaOf("a", `,"chunk":1.5,"timestamp":true`), mediaOf("a", `,"chunk":1e99`)},
			want: []string{
				opusStart, "notice bad_field media.chunk (" + badNumber + ")", "notice bad_field media.timestamp (" + badNumber + ")", `media a "abc" packet -1 at -1`,
				"notice bad_field media.chunk (" + badNumber + ")", "notice bad_field media.timestamp (" + badNumber + ")", `media a "abc" packet -1 at -1`,
				"notice bad_field media.chunk (" + badNumber + ")", `media a "abc" packet -1 at -1`,
			},
		},
		"loss, repetition and reordering": {
			say: []string{startOf("a", opusFormat), mediaOf("a", `,"chunk":5`), mediaOf("a", `,"chunk":9`), mediaOf("a", `,"chunk":9`), mediaOf("a", `,"chunk":6`), mediaOf("b", `,"chunk":6`), mediaOf("a", `,"chunk":10`)},
			want: []string{
				opusStart, `media a "abc" packet 5 at -1`, `media a "abc" packet 9 at -1`, "notice old_packet media.chunk (> 9)", "notice old_packet media.chunk (> 9)",
				"start b opus/48000/2", noStart, `media b "abc" packet 6 at -1`, `media a "abc" packet 10 at -1`,
			},
		},
		"numbers that begin anew": {
			say: []string{startOf("a", opusFormat), mediaOf("a", `,"chunk":2000`), mediaOf("a", `,"chunk":1000`), mediaOf("a", `,"chunk":999`), mediaOf("a", `,"chunk":1000`), startOf("a", opusFormat), mediaOf("a", `,"chunk":7`)},
			want: []string{
				opusStart, `media a "abc" packet 2000 at -1`, "notice old_packet media.chunk (> 2000)",
				"notice packet_restart media.chunk (> 2000)", `media a "abc" packet 999 at -1`, `media a "abc" packet 1000 at -1`,
				opusStart, `media a "abc" packet 7 at -1`,
			},
		},
		"payloads": {
			say: []string{
				startOf("a", opusFormat),
				`{"event":"media","media":{"tag":"a","payload":"-_-_"}}`, `{"event":"media","media":{"tag":"a","payload":"YQ"}}`,
				`{"event":"media","media":{"tag":"a","payload":"Y W\nJ\tj "}}`, `{"event":"media","media":{"tag":"a","payload":"\/\/\/\/"}}`,
			},
			want: []string{opusStart, `media a "\xfb\xff\xbf" packet -1 at -1`, `media a "a" packet -1 at -1`, `media a "abc" packet -1 at -1`, `media a "\xff\xff\xff" packet -1 at -1`},
		},
		"payloads that are none": {
			say: []string{
				`{"event":"media","media":{"tag":"a"}}`, `{"event":"media","media":{"tag":"a","payload":""}}`, `{"event":"media","media":{"tag":"a","payload":7}}`,
				`{"event":"media","media":{"tag":"a","payload":"A"}}`, `{"event":"media","media":{"tag":"a","payload":"ab$d"}}`, `{"event":"media","media":{"tag":"a","payload":"YQ==YQ=="}}`,
			},
			want: []string{badPayload, badPayload, badPayload, badPayload, badPayload, badPayload},
		},
		"a refused packet may come again": {
			say:  []string{startOf("a", opusFormat), `{"event":"media","media":{"tag":"a","chunk":1,"payload":"$"}}`, mediaOf("a", `,"chunk":1`)},
			want: []string{opusStart, badPayload, `media a "abc" packet 1 at -1`},
		},
		"l16 comes in whole samples": {
			say: []string{
				startOf("a", `{"encoding":"l16","sampleRate":8000}`), mediaOf("a", ""), `{"event":"media","media":{"tag":"a","payload":"YWI="}}`,
				startOf("a", `{"encoding":"l16","channels":2}`), `{"event":"media","media":{"tag":"a","payload":"YWI="}}`, `{"event":"media","media":{"tag":"a","payload":"YWJjZA=="}}`,
			},
			want: []string{"start a l16/8000/1", badPayload, `media a "ab" packet -1 at -1`, "start a l16/24000/2", badPayload, `media a "abcd" packet -1 at -1`},
		},
		"media without tag or body": {
			say: []string{`{"event":"media"}`, `{"event":"media","media":"x"}`, `{"event":"media","media":{"payload":"YWJj"}}`, mediaOf("", "")},
			want: []string{
				"notice bad_field media (an object)", "notice bad_field media (an object)",
				"notice missing_tag media.tag (" + badTag + ")", "notice missing_tag media.tag (" + badTag + ")",
			},
		},
		"stop": {
			say:  []string{`{"event":"stop","stop":{"tag":"a","mediaInfo":{"bytesSent":"5","duration":"1"},"timestamp":5}}`, `{"event":"stop","stop":{}}`, `{"event":"stop"}`},
			want: []string{"stop a", "notice missing_tag stop.tag (" + badTag + ")", "notice bad_field stop (an object)"},
		},
		"media after stop is in the format it had": {
			say: []string{
				startOf("a", `{"encoding":"l16"}`), `{"event":"media","media":{"tag":"a","chunk":5,"payload":"YWI="}}`, `{"event":"stop","stop":{"tag":"a"}}`,
				`{"event":"media","media":{"tag":"a","chunk":1,"payload":"YWI="}}`, `{"event":"media","media":{"tag":"a","chunk":2,"payload":"YWI="}}`,
			},
			want: []string{"start a l16/24000/1", `media a "ab" packet 5 at -1`, "stop a", "start a l16/24000/1", `media a "ab" packet 1 at -1`, `media a "ab" packet 2 at -1`},
		},
		"unusual tags": {
			say:  []string{startOf("ü\u2028*", opusFormat), `{"event":"media","media":{"tag":"ü\u2028*","payload":"YWJj"}}`, "{\"event\":\"media\",\"media\":{\"tag\":\"\xff\",\"payload\":\"YWJj\"}}"},
			want: []string{"start ü\u2028* opus/48000/2", `media ü` + "\u2028" + `* "abc" packet -1 at -1`, "start \uFFFD opus/48000/2", noStart, "media \uFFFD \"abc\" packet -1 at -1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conv, _ := open(t, Config{}, anyOutput+tc.query)
			wantLines(t, decode(conv, tc.say...), tc.want)
			long, _ := open(t, Config{}, anyOutput+tc.query)
			long.long = true
			wantLines(t, decode(long, tc.say...), tc.want)
		})
	}
}

func TestDecodeBinary(t *testing.T) {
	t.Parallel()
	conv, _ := open(t, Config{}, anyOutput)
	var got []string
	conv.Decode(websocket.MessageBinary, []byte(`{"event":"ping","id":3}`), func(ev dialect.Event) { got = append(got, show(ev)) })
	wantLines(t, got, []string{`reply {"event":"pong","id":3}`})
}

// The socket's reader may use its buffer again.
func TestDecodeKeepsNothing(t *testing.T) {
	t.Parallel()
	conv, _ := open(t, Config{}, anyOutput)
	var events []dialect.Event
	for _, m := range []string{startOf("abc", opusFormat), mediaOf("abc", ""), mediaOf("new", `,"chunk":"x"`), `{"event":"ping","id":3}`, `{"event":"nope"}`} {
		data := []byte(m)
		conv.Decode(websocket.MessageText, data, func(ev dialect.Event) { events = append(events, ev) })
		for i := range data {
			data[i] = '#'
		}
	}
	for _, ev := range events {
		if s := fmt.Sprintf("%+v %s", ev, ev.Payload); strings.Contains(s, "#") {
			t.Error(s)
		}
	}
}

func TestTooManySources(t *testing.T) {
	t.Parallel()
	conv, _ := open(t, Config{}, anyOutput)
	for i := range maxTags {
		decode(conv, startOf(fmt.Sprint(i), opusFormat))
	}
	want := "notice too_many_sources tag (at most 4096 on one connection)"
	wantLines(t, decode(conv, startOf("a", opusFormat), mediaOf("b", "")), []string{want, want})
	wantLines(t, decode(conv, `{"event":"stop","stop":{"tag":"7"}}`, startOf("a", opusFormat), mediaOf("b", "")), []string{"stop 7", opusStart, want})
	if n := len(conv.tags); n != maxTags {
		t.Errorf("%d tags are kept", n)
	}
}

// A conversation as a bridge would have it: two sources that take turns on one socket.
func TestRecordedConversation(t *testing.T) {
	t.Parallel()
	in, err := os.ReadFile("testdata/conversation.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	conv, _ := open(t, Config{}, anyOutput)
	var got bytes.Buffer
	for lines := bufio.NewScanner(bytes.NewReader(in)); lines.Scan(); {
		var line struct{ Data string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		for _, s := range decode(conv, line.Data) {
			fmt.Fprintln(&got, s)
		}
	}
	const golden = "testdata/conversation.golden"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, strings.Split(got.String(), "\n"), strings.Split(string(want), "\n"))
}
