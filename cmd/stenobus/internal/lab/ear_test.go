package lab

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/coder/websocket"

	"stenobus/worker/engine/tally"
)

func said(kind, source, id, text string, cursor uint64) string {
	return fmt.Sprintf(`{"event":"transcription-result","stenobus":{"type":%q,"source":%q,"id":%q,"text":%q,"cursor":%d}}`, kind, source, id, text, cursor)
}

func TestEar(t *testing.T) {
	t.Parallel()
	one, two := tagOf(1), tagOf(2)
	for name, tc := range map[string]struct {
		messages []string
		want     map[Fail]uint64
	}{
		"in order":     {[]string{said("final", one, "1.1.1.1", "a", 5), said("final", two, "1.1.2.1", "a", 6)}, nil},
		"twice":        {[]string{said("final", one, "1.1.1.1", "a", 5), said("final", two, "1.1.2.1", "b", 6), said("final", one, "1.1.1.1", "a", 5)}, map[Fail]uint64{FinalDoubled: 1}},
		"out of order": {[]string{said("final", one, "1.1.1.1", "a", 6), said("final", two, "1.1.2.1", "b", 5)}, map[Fail]uint64{FinalDisordered: 1}},
		"interims of one source": {[]string{
			said("interim", one, "1.1.1.1", "a", 0), said("interim", one, "1.2.1.1", "a", 0), said("interim", two, "1.1.2.1", "a", 0),
		}, nil},
		"stale interim": {[]string{said("interim", one, "1.2.1.1", "a", 0), said("interim", one, "1.1.1.2", "a", 0)}, map[Fail]uint64{InterimStale: 1}},
		"stale life":    {[]string{said("interim", one, "2.1.1.1", "a", 0), said("interim", one, "1.5.1.2", "a", 0)}, map[Fail]uint64{InterimStale: 1}},
		"next life":     {[]string{said("interim", one, "1.5.1.1", "a", 0), said("interim", one, "2.1.1.1", "a", 0)}, nil},
		"a stranger":    {[]string{said("interim", tagOf(3), "1.1.3.1", "a", 0)}, map[Fail]uint64{InterimStale: 1}},
		"an open ledger": {[]string{`{"event":"info","stenobus":{"type":"event","event":"ended","unaccounted":-2}}`},
			map[Fail]uint64{FrameUnaccounted: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, got := newEar("s", 2), map[Fail]uint64{}
			for _, m := range tc.messages {
				_, found, err := e.hear([]byte(m), time.Now())
				if err != nil {
					t.Fatal(err)
				}
				for _, w := range found {
					got[w.Fail] += w.N
				}
			}
			if !maps.Equal(got, tc.want) {
				t.Errorf("found %v, want %v", got, tc.want)
			}
		})
	}
}

func TestEarKeepsWhatAClientNeeds(t *testing.T) {
	t.Parallel()
	e := newEar("s", 1)
	for _, m := range []string{
		`{"event":"info","resumeToken":"t0k"}`, said("final", tagOf(1), "1.1.1.1", "a", 7),
		`{"event":"info","stenobus":{"type":"event","event":"resumed","worker":"w2","packets":{"a":3}}}`,
		`{"event":"info","stenobus":{"type":"event","event":"ended","accepted":{"a":3},"refused":{"a":1},"unaccounted":0}}`,
	} {
		if _, found, err := e.hear([]byte(m), time.Now()); err != nil || len(found) > 0 {
			t.Fatal(found, err)
		}
	}
	if e.token != "t0k" || e.cursor != 7 || e.worker != "w2" || !e.ended || e.told["a"] != 3 || e.refused != 1 {
		t.Errorf("kept %+v", e)
	}
	if _, _, err := e.hear([]byte("{"), time.Now()); err == nil {
		t.Error("half a message was understood")
	}
}

// The lab's messages carry numbered frames in the shape of Opus packets.
func TestMediaIsNumbered(t *testing.T) {
	t.Parallel()
	v := voice{session: 3, size: 120, rate: 50}
	var m struct {
		Media struct {
			Tag, Chunk, Timestamp string
			Payload               string
		}
	}
	if err := json.Unmarshal(v.media(2, tagOf(2), 51), &m); err != nil {
		t.Fatal(err)
	}
	frame, err := base64.StdEncoding.DecodeString(m.Media.Payload)
	if err != nil {
		t.Fatal(err)
	}
	n, ok := tally.ReadNumber(frame)
	if !ok || n != (tally.Number{Session: 3, Source: 2, N: 51}) || len(frame) != 120 || frame[0] != 0x78 {
		t.Errorf("frame %q is %+v", frame, n)
	}
	if m.Media.Tag != tagOf(2) || sourceOf(m.Media.Tag) != 2 || m.Media.Chunk != "51" || m.Media.Timestamp != "48960" {
		t.Errorf("media %+v", m.Media)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		code  websocket.StatusCode
		ended bool
		want  verdict
	}{
		"the end":        {websocket.StatusNormalClosure, true, over},
		"1000 too early": {websocket.StatusNormalClosure, false, lost},
		"moving":         {websocket.StatusServiceRestart, false, again},
		"no worker":      {websocket.StatusTryAgainLater, false, again},
		"internal":       {websocket.StatusInternalError, false, again},
		"superseded":     {4409, false, lost},
		"policy":         {websocket.StatusPolicyViolation, false, lost},
	} {
		if got, _ := judge(websocket.CloseError{Code: tc.code}, tc.ended); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
	if got, _ := judge(errSilent, true); got != again {
		t.Errorf("a broken connection: %v", got)
	}
	if got, _ := judgeRefusal(&refusedUpgrade{403}); got != lost {
		t.Errorf("forbidden: %v", got)
	}
	if got, _ := judgeRefusal(&refusedUpgrade{503}); got != again {
		t.Errorf("not ready: %v", got)
	}
}
