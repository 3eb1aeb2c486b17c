package gateway

import (
	"stenobus/gateway/deepgram"
	"stenobus/gateway/dialect"
	"stenobus/gateway/mediajson"
	"stenobus/gateway/openai"
	"stenobus/gateway/plain"
)

// dialects lists every client protocol that a gateway speaks: a new one is a folder
// beside mediajson and a line here.
func dialects(cfg Config) []dialect.Dialect {
	return []dialect.Dialect{
		mediajson.New(mediajson.Config{Version: cfg.Version, Engines: cfg.Engines}),
		deepgram.New(deepgram.Config{Version: cfg.Version, Engines: cfg.Engines, Idle: cfg.IdleWait}),
		openai.New(openai.Config{Engines: cfg.Engines}),
		plain.New(plain.Config{Engines: cfg.Engines}),
	}
}
