package openai

import (
	"fmt"
	"slices"
	"strings"
)

// ignored is a valid wish that is not fulfilled.
type ignored struct {
	Param   string `json:"param"`
	Message string `json:"message"`
}

const (
	logprobs        = "item.input_audio_transcription.logprobs"
	allowedLanguage = "a BCP 47 tag such as en or en-US"
	maxMS           = 60_000 // of a client's times
	noOwnTurns      = "turns end by the engine's own rule"
)

// update is a session.update that is being read. It changes nothing until all of it
// is known to be right.
type update struct {
	cfg  Config
	set  settings
	told []ignored
}

// ignore notes a wish. The list is bounded by the number of fields there are.
func (u *update) ignore(f *fields, name, why string) {
	u.told = append(u.told, ignored{f.at + name, why})
}

// session reads both shapes: the API's own, with all in audio.input, and the flat one
// of its beta. What is left out stays.
func (u *update) session(f *fields) (flat bool) {
	f.choice("type", intent)
	u.include(f)
	if audio, ok := f.object("audio"); ok {
		if input, ok := audio.object("input"); ok {
			u.format(input)
			u.noise(input, "noise_reduction")
			u.transcription(input, "transcription")
			u.turns(input)
			input.rest()
		}
		audio.rest()
	}
	for _, name := range []string{"input_audio_format", "input_audio_transcription", "input_audio_noise_reduction", "turn_detection"} {
		flat = flat || f.has(name)
	}
	if name := f.text("input_audio_format"); name != "" && !f.failed() {
		if format, ok := flatFormat(name); ok {
			u.set.format = format
		} else {
			f.bad("input_audio_format", name, allowedFlat)
		}
	}
	u.noise(f, "input_audio_noise_reduction")
	u.transcription(f, "input_audio_transcription")
	u.turns(f)
	if slices.Contains(f.texts("modalities"), "audio") {
		u.ignore(f, "modalities", "a transcription session sends text")
	}
	if _, ok := f.object("client_secret"); ok {
		u.ignore(f, "client_secret", "no ephemeral keys are made here")
	}
	f.rest()
	return flat
}

func (u *update) include(f *fields) {
	for _, name := range f.texts("include") {
		if name != logprobs {
			f.bad("include", name, "'"+logprobs+"'")
			return
		}
		u.ignore(f, "include", "engines here tell no log probabilities")
	}
}

func (u *update) format(input *fields) {
	f, ok := input.object("format")
	if !ok {
		return
	}
	kind := f.choice("type", kindPCM, kindPCMU, kindPCMA)
	if kind == "" {
		kind = kindPCM
	}
	rate, _ := f.integer("rate", 1, maxRate)
	if !f.failed() {
		format, allowed := u.set.format.named(kind, rate)
		if allowed != "" {
			f.bad("rate", string(f.o["rate"]), allowed)
		}
		u.set.format = format
	}
	f.rest()
}

func (u *update) noise(f *fields, name string) {
	inner, ok := f.object(name)
	if !ok {
		return
	}
	if inner.choice("type", "near_field", "far_field") != "" {
		u.ignore(f, name, "audio is transcribed as it comes")
	}
	inner.rest()
}

func (u *update) transcription(f *fields, name string) {
	inner, ok := f.object(name)
	if !ok {
		if f.has(name) && !f.failed() { // null
			f.fail(CodeBadValue, name, "an object", "Invalid value: '%s' can't be null, as a transcription session does nothing else.", f.at+name)
		}
		return
	}
	if model := inner.text("model"); model != "" {
		u.model(inner, strings.ToLower(valid(model)))
	}
	u.language(inner)
	if inner.text("prompt") != "" {
		u.ignore(inner, "prompt", "engines here take no prompt")
	}
	if inner.choice("delay", "minimal", "low", "medium", "high", "xhigh") != "" {
		u.ignore(inner, "delay", "text is sent as soon as there is some")
	}
	if len(inner.texts("keywords")) > 0 {
		u.ignore(inner, "keywords", "engines here take no keywords")
	}
	inner.rest()
}

// model can't change the engine: the worker was chosen when the client connected.
func (u *update) model(f *fields, model string) {
	switch {
	case strings.EqualFold(model, u.set.engine):
	case slices.ContainsFunc(u.cfg.Engines, func(e string) bool { return strings.EqualFold(e, model) }):
		u.ignore(f, "model", fmt.Sprintf("the engine is chosen when the client connects, by model=%.64s in the URL", model))
	default:
		u.ignore(f, "model", fmt.Sprintf("model %.64q is no engine here: the session keeps its own", model))
	}
}

// language holds from the next appended audio on.
func (u *update) language(f *fields) {
	several := f.texts("languages")
	language := f.text("language")
	switch {
	case f.failed():
		return
	case language == "" && len(several) == 1:
		language = several[0]
	case len(several) > 0:
		u.ignore(f, "languages", "engines here take one language")
	}
	switch {
	case language != "" && !isLanguage(language):
		f.bad("language", language, allowedLanguage)
	case language != "":
		u.set.language = language
	case f.has("language"): // null or empty
		u.set.language = u.set.fallback
	}
}

func isLanguage(s string) bool {
	const most = 35 // bytes, RFC 5646, 4.4.1
	return len(s) <= most && s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}

// turns reads who ends a turn. Of the engine's own rule nothing can be set from here.
func (u *update) turns(f *fields) {
	const name = "turn_detection"
	given := f.has(name)
	inner, ok := f.object(name)
	if !ok {
		if given && !f.failed() {
			u.set.vad = false
		}
		return
	}
	u.set.vad = true
	if inner.choice("type", "server_vad", "semantic_vad") == "semantic_vad" {
		u.ignore(inner, "type", "semantic_vad is not offered: server_vad holds")
	}
	if _, ok := inner.number("threshold", 0, 1); ok {
		u.ignore(inner, "threshold", noOwnTurns)
	}
	for _, name := range []string{"prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms"} {
		if _, ok := inner.integer(name, 0, maxMS); ok {
			u.ignore(inner, name, noOwnTurns)
		}
	}
	if inner.choice("eagerness", "low", "medium", "high", "auto") != "" {
		u.ignore(inner, "eagerness", noOwnTurns)
	}
	for _, name := range []string{"create_response", "interrupt_response"} {
		if inner.flag(name) {
			u.ignore(inner, name, "a transcription session has no responses")
		}
	}
	inner.rest()
}
