package openai

import (
	"encoding/json"
	"strings"
	"testing"
)

// Each update is answered by what holds then, or by what is wrong with it.
func TestUpdate(t *testing.T) {
	t.Parallel()
	const was = "pcm16  vad"
	for _, tt := range []struct{ name, session, holds, fault, ignored string }{
		{"nothing", `{}`, was, "", ""},
		{"the API's own", `{"type":"transcription","include":null,"audio":{"input":{"format":{"type":"audio/pcm","rate":24000},"noise_reduction":null,"transcription":{"model":"tally","language":"en"},"turn_detection":null}}}`, "pcm16 en", "", ""},
		{"another rate", `{"audio":{"input":{"format":{"type":"audio/pcm","rate":16000}}}}`, "pcm_s16le_16000  vad", "", ""},
		{"no rate", `{"audio":{"input":{"format":{"type":"audio/pcm"}}}}`, was, "", ""},
		{"telephony", `{"audio":{"input":{"format":{"type":"audio/pcmu"}}}}`, "g711_ulaw  vad", "", ""},
		{"telephony with its rate", `{"audio":{"input":{"format":{"type":"audio/pcma","rate":8000}}}}`, "g711_alaw  vad", "", ""},
		{"the beta's", `{"input_audio_format":"g711_alaw","input_audio_transcription":{"language":"de"},"turn_detection":null}`, "g711_alaw de", "", ""},
		{"one of several languages", `{"audio":{"input":{"transcription":{"languages":["sv"]}}}}`, "pcm16 sv vad", "", ""},
		{"several languages", `{"audio":{"input":{"transcription":{"languages":["sv","fi"]}}}}`, was, "", "session.audio.input.transcription.languages"},
		{"no language", `{"audio":{"input":{"transcription":{"language":null}}}}`, was, "", ""},

		{"wishes", `{"include":["item.input_audio_transcription.logprobs"],"audio":{"input":{"noise_reduction":{"type":"far_field"},"transcription":{"prompt":"p","delay":"low","keywords":["k"]},"turn_detection":{"type":"semantic_vad","eagerness":"low","create_response":true}}}}`,
			was, "", "session.include session.audio.input.noise_reduction session.audio.input.transcription.prompt session.audio.input.transcription.delay session.audio.input.transcription.keywords session.audio.input.turn_detection.type session.audio.input.turn_detection.eagerness session.audio.input.turn_detection.create_response"},
		{"the vendor's turns", `{"turn_detection":{"type":"server_vad","threshold":0.5,"prefix_padding_ms":300,"silence_duration_ms":500,"create_response":false}}`,
			was, "", "session.turn_detection.threshold session.turn_detection.prefix_padding_ms session.turn_detection.silence_duration_ms"},
		{"the beta's wishes", `{"client_secret":{"expires_at":{"seconds":60}},"modalities":["audio","text"]}`, was, "", "session.modalities session.client_secret"},
		{"another model", `{"audio":{"input":{"transcription":{"model":"whisper-1"}}}}`, was, "", "session.audio.input.transcription.model"},
		{"another engine", `{"audio":{"input":{"transcription":{"model":"pocketsphinx"}}}}`, was, "", "session.audio.input.transcription.model"},

		{"a conversation", `{"type":"realtime"}`, was, "invalid_value session.type", ""},
		{"of a conversation", `{"instructions":"be kind"}`, was, "unknown_parameter session.instructions", ""},
		{"output", `{"audio":{"output":{}}}`, was, "unknown_parameter session.audio.output", ""},
		{"no object", `7`, was, "invalid_type session", ""},
		{"no object inside", `{"audio":[]}`, was, "invalid_type session.audio", ""},
		{"a rate too high", `{"audio":{"input":{"format":{"type":"audio/pcm","rate":96000}}}}`, was, "invalid_value session.audio.input.format.rate", ""},
		{"a rate too low", `{"audio":{"input":{"format":{"type":"audio/pcm","rate":4000}}}}`, was, "invalid_value session.audio.input.format.rate", ""},
		{"half a sample/s", `{"audio":{"input":{"format":{"type":"audio/pcm","rate":16000.5}}}}`, was, "invalid_type session.audio.input.format.rate", ""},
		{"telephony at another rate", `{"audio":{"input":{"format":{"type":"audio/pcmu","rate":16000}}}}`, was, "invalid_value session.audio.input.format.rate", ""},
		{"another format", `{"audio":{"input":{"format":{"type":"audio/opus"}}}}`, was, "invalid_value session.audio.input.format.type", ""},
		{"an old format that never was", `{"input_audio_format":"mp3"}`, was, "invalid_value session.input_audio_format", ""},
		{"no transcription", `{"audio":{"input":{"transcription":null}}}`, was, "invalid_value session.audio.input.transcription", ""},
		{"a language that is none", `{"audio":{"input":{"transcription":{"language":"in English"}}}}`, was, "invalid_value session.audio.input.transcription.language", ""},
		{"another turn detection", `{"turn_detection":{"type":"none"}}`, was, "invalid_value session.turn_detection.type", ""},
		{"a threshold too high", `{"turn_detection":{"type":"server_vad","threshold":7}}`, was, "invalid_value session.turn_detection.threshold", ""},
		{"a time that is none", `{"turn_detection":{"type":"server_vad","silence_duration_ms":"500"}}`, was, "invalid_type session.turn_detection.silence_duration_ms", ""},
		{"an unknown wish", `{"turn_detection":{"type":"server_vad","mood":1}}`, was, "unknown_parameter session.turn_detection.mood", ""},
		{"an unknown include", `{"include":["everything"]}`, was, "invalid_value session.include", ""},
		{"one thing wrong of many", `{"input_audio_format":"g711_ulaw","turn_detection":{"type":7}}`, was, "invalid_type session.turn_detection.type", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, _ := open(t, "intent=transcription&model=tally")
			checkAnswer(t, say(c, `{"type":"session.update","event_id":"mine","session":`+tt.session+`}`), tt.fault, tt.ignored)
			s := c.reader.turns.settings()
			holds := s.format.flat() + " " + s.language
			if s.vad {
				holds += " vad"
			}
			if holds != tt.holds {
				t.Errorf("%q holds, want %q", holds, tt.holds)
			}
		})
	}
}

func checkAnswer(t *testing.T, lines []string, fault, ignored string) {
	t.Helper()
	var m struct {
		Type  string
		Error struct {
			Code, Param string
			EventID     string `json:"event_id"`
		}
		Session struct{ Stenobus sessionExtra }
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(lines[0], "client ")), &m); err != nil {
		t.Fatal(err, lines)
	}
	var names []string
	for _, i := range m.Session.Stenobus.Ignored {
		names = append(names, i.Param)
	}
	got := strings.TrimSpace(m.Error.Code + " " + m.Error.Param)
	if got != fault || strings.Join(names, " ") != ignored || (fault != "") != (m.Type == "error") || (fault != "") != (m.Error.EventID == "mine") {
		t.Errorf("answered by %s", lines[0])
	}
}
