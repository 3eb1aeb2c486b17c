package openai

import (
	"slices"
	"strings"
	"testing"
)

// What clients of servers that imitate the API say is understood where it means one thing
// only, and otherwise named in an error event; it is never taken for something else.
func TestImitators(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, message, answer string }{
		{"speaches, session", `{"type":"session.update","session":{"input_audio_transcription":{"model":"Systran/faster-whisper-small","language":"en"},"turn_detection":{"type":"server_vad","threshold":0.9,"prefix_padding_ms":0,"silence_duration_ms":550,"create_response":false}}}`, `"session.updated"`},
		{"vLLM, model", `{"type":"session.update","model":"mistralai/Voxtral-Mini-4B-Realtime"}`, `"session.updated"`},
		{"vLLM, begin", `{"type":"input_audio_buffer.commit"}`, `"input_audio_buffer_commit_empty"`},
		{"vLLM, end", `{"type":"input_audio_buffer.commit","final":true}`, `"param":"final"`},
		{"Mistral, audio", `{"type":"input_audio.append","audio":"AAAA"}`, `"param":"type"`},
		{"Mistral, end", `{"type":"input_audio.end"}`, `"param":"type"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, _ := open(t, "intent=transcription&model=tally")
			lines := say(c, tt.message)
			if len(lines) == 0 || !strings.HasPrefix(lines[0], "client ") || !strings.Contains(lines[0], tt.answer) {
				t.Errorf("answered by %q, want %s", lines, tt.answer)
			}
			if slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "bus ") }) {
				t.Errorf("the session was told %q", lines)
			}
		})
	}
}
