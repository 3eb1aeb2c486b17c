package openai

// nested is a session in the API's own shape.
type nested struct {
	ID      string        `json:"id"`
	Object  string        `json:"object"` // realtime.transcription_session
	Type    string        `json:"type"`   // transcription
	Audio   nestedAudio   `json:"audio"`
	Include []string      `json:"include"` // always empty
	Own     *sessionExtra `json:"stenobus,omitempty"`
}

type nestedAudio struct {
	Input nestedInput `json:"input"`
}

type nestedInput struct {
	Format        nestedFormat   `json:"format"`
	Noise         *struct{}      `json:"noise_reduction"` // always null
	Transcription transcription  `json:"transcription"`
	TurnDetection *turnDetection `json:"turn_detection"`
}

type nestedFormat struct {
	Type string `json:"type"`
	Rate int    `json:"rate,omitempty"` // the API has none for telephony
}

// flat is a session in the shape of the API's beta.
type flat struct {
	ID            string         `json:"id"`
	Object        string         `json:"object"`
	Format        string         `json:"input_audio_format"`
	Noise         *struct{}      `json:"input_audio_noise_reduction"`
	Transcription transcription  `json:"input_audio_transcription"`
	TurnDetection *turnDetection `json:"turn_detection"`
	Include       []string       `json:"include"`
	ClientSecret  *struct{}      `json:"client_secret"` // always null
	Own           *sessionExtra  `json:"stenobus,omitempty"`
}

type transcription struct {
	Model    string `json:"model"` // the engine
	Language string `json:"language,omitempty"`
}

type turnDetection struct {
	Type string `json:"type"` // server_vad
}

// sessionExtra is what the API has no place for.
type sessionExtra struct {
	Ignored     []ignored `json:"ignored,omitempty"`      // wishes that are not fulfilled
	ResumeToken string    `json:"resume_token,omitempty"` // for a client that gave its session an id
}

const sessionObject = "realtime.transcription_session"

// render is the session as it is, in the shape that the client speaks.
func (s settings) render(cfg Config, id string, asFlat bool, own sessionExtra) any {
	t := transcription{Model: s.engineName(cfg), Language: s.language}
	var turn *turnDetection
	if s.vad {
		turn = &turnDetection{Type: "server_vad"}
	}
	var extra *sessionExtra
	if len(own.Ignored) > 0 || own.ResumeToken != "" {
		extra = &own
	}
	if asFlat {
		return &flat{
			ID: id, Object: sessionObject, Format: s.format.flat(), Transcription: t, TurnDetection: turn, Include: []string{}, Own: extra,
		}
	}
	f := nestedFormat{Type: s.format.kind}
	if s.format.kind == kindPCM {
		f.Rate = s.format.rate
	}
	return &nested{
		ID: id, Object: sessionObject, Type: intent, Include: []string{}, Own: extra,
		Audio: nestedAudio{Input: nestedInput{Format: f, Transcription: t, TurnDetection: turn}},
	}
}

// engineName is the engine that a session has, as far as that is known before a worker has it.
func (s settings) engineName(cfg Config) string {
	switch {
	case s.engine != "":
		return s.engine
	case len(cfg.Engines) == 1:
		return cfg.Engines[0]
	}
	return "any"
}
