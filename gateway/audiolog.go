package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"golang.org/x/time/rate"

	"stenobus/subjects"
)

const (
	audioEvery    = 10 * time.Second       // how often the audio log is made sure of, and sources are announced in it
	audioTry      = 5 * time.Second        // of one such call
	gatherFor     = 500 * time.Millisecond // how long other gateways may take to answer
	metaAudioLog  = "audio_log"            // in a gateway's service metadata
	audioLogOn    = "on"
	audioLogOff   = "off"
	gatewaysReply = 4096 // most answers looked at
)

func (g *Server) metadata() map[string]string {
	state := audioLogOff
	if g.cfg.AudioLog {
		state = audioLogOn
	}
	return map[string]string{"gateway": g.cfg.Name, metaAudioLog: state}
}

// openAudioLog makes the audio log before the first session, or takes away one that no
// gateway keeps any more. Only a log that is there and not ours to use is an error:
// what the bus can't do now it may do later, and sessions don't wait for it.
func (g *Server) openAudioLog(ctx context.Context) error {
	var err error
	if g.cfg.AudioLog {
		err = g.ensureAudio(ctx)
	} else {
		err = g.dropAudio(ctx)
	}
	if err == nil || errors.Is(err, subjects.ErrIncompatible) {
		return err
	}
	g.log.Warn("the audio log is not as it should be", "wanted", g.metadata()[metaAudioLog], "error", err)
	return nil
}

// keepAudioLog makes the log again where somebody removed it, until ctx ends.
func (g *Server) keepAudioLog(ctx context.Context) {
	tick := time.NewTicker(audioEvery)
	defer tick.Stop()
	grumble := rate.Sometimes{First: 1, Interval: audioEvery}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := g.ensureAudio(ctx); err != nil && ctx.Err() == nil {
			grumble.Do(func() { g.log.Warn("audio is not logged", "error", err) })
		}
	}
}

func (g *Server) ensureAudio(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, audioTry)
	defer cancel()
	return subjects.EnsureAudio(ctx, g.js, g.cfg.Bus)
}

// dropAudio deletes a log that was left by gateways which kept one, so that restarting
// the gateways without it is all that it takes to switch it off. The last one to
// restart finds nobody who still keeps it.
func (g *Server) dropAudio(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, audioTry)
	defer cancel()
	_, err := g.js.Stream(ctx, subjects.AudioStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", subjects.AudioStream, err)
	}
	kept, err := g.logKept(ctx)
	if err != nil || kept {
		return err
	}
	g.log.Info("no gateway keeps the audio log any more, it is deleted")
	err = g.js.DeleteStream(ctx, subjects.AudioStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil // another gateway was faster
	}
	return err
}

// logKept asks every gateway whether it keeps the log.
func (g *Server) logKept(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, gatherFor)
	defer cancel()
	inbox := g.nc.NewRespInbox()
	sub, err := g.nc.SubscribeSync(inbox)
	if err != nil {
		return false, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only where the connection is gone with it
	all, err := micro.ControlSubject(micro.PingVerb, ServiceName, "")
	if err != nil {
		return false, err
	}
	if err := g.nc.PublishRequest(all, inbox, nil); err != nil {
		return false, err
	}
	for range gatewaysReply {
		m, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrNoResponders) || ctx.Err() != nil {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		var ping micro.Ping
		if json.Unmarshal(m.Data, &ping) == nil && ping.Metadata[metaAudioLog] == audioLogOn {
			return true, nil
		}
	}
	return false, nil
}

// announced is what a session last said of its live sources.
type announced struct {
	at    time.Time
	n     uint64 // number before which they were so
	begun uint64 // number with which the present owner was told to begin
}

// logSources announces the live sources now and then, where audio is logged: whoever
// reads the log later finds the sources' formats near any place in it. Not before the
// worker has acknowledged something: one that has not begun would begin here.
func (s *session) logSources(now time.Time) {
	last := s.announced
	if !s.srv.cfg.AudioLog || s.over || s.snd.next == last.n || s.snd.acked < last.begun || now.Sub(last.at) < audioEvery {
		return
	}
	s.announce(s.snd.next, s.snd.live())
}
