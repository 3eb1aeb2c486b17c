package lab

import (
	"io"
	"net"
	"sync"
	"time"

	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
)

// chunksUnderWay is how many reads may wait in a slow direction, as they would in the
// buffers of a network.
const chunksUnderWay = 512

// passage is one connection through a link: two directions, each a reader, a toxic and
// a writer.
type passage struct {
	near, far net.Conn
	ways      [2]*way
	wg        sync.WaitGroup
}

// way is one direction.
type way struct {
	stub *toxics.ToxicStub
	in   chan *stream.StreamChunk
	out  chan *stream.StreamChunk
}

func newPassage(near, far net.Conn) *passage {
	p := &passage{near: near, far: far}
	for i := range p.ways {
		w := &way{in: make(chan *stream.StreamChunk, chunksUnderWay), out: make(chan *stream.StreamChunk)}
		w.stub = toxics.NewToxicStub(w.in, w.out)
		p.ways[i] = w
	}
	return p
}

func (p *passage) begin(t toxic) {
	p.run(p.ways[0], p.near, p.far, t)
	p.run(p.ways[1], p.far, p.near, t)
}

// run starts one direction. Its end travels from reader to writer: what was read before
// is written. A writer that can't write takes what comes and throws it away, so that
// nobody before it waits for ever.
func (p *passage) run(w *way, from io.Reader, to io.Writer, t toxic) {
	p.wg.Go(func() {
		_, _ = io.Copy(stream.NewChanWriter(w.in), from) // however it ends, the way ends
		close(w.in)
	})
	p.wg.Go(func() { w.stub.Run(wrap(t)) })
	p.wg.Go(func() {
		_, _ = io.Copy(to, stream.NewChanReader(w.out))
		p.close()
		for range w.out {
		}
	})
}

// wrap makes a toxic one that always works.
func wrap(t toxic) *toxics.ToxicWrapper { return &toxics.ToxicWrapper{Toxic: t.Toxic, Toxicity: 1} }

// set changes the toxic of both directions. Where what stands still at an end holds it
// too long the passage closes.
func (p *passage) set(t toxic) {
	for _, w := range p.ways {
		stopped := make(chan bool, 1)
		go func() { stopped <- w.stub.InterruptToxic() }()
		timer := time.NewTimer(healWait)
		var goesOn bool
		select {
		case goesOn = <-stopped:
		case <-timer.C:
			p.close()
			goesOn = <-stopped // soon: the writer takes everything now
		}
		timer.Stop()
		if goesOn {
			p.wg.Go(func() { w.stub.Run(wrap(t)) })
		}
	}
}

// close may be called several times.
func (p *passage) close() {
	_ = p.near.Close()
	_ = p.far.Close()
}

// wait returns when nothing of the passage is left.
func (p *passage) wait() { p.wg.Wait() }
