package pocketsphinx

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"stenobus/worker"
)

func TestZZ(t *testing.T) {
	e, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	files, _ := filepath.Glob(os.Getenv("ZZ"))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		pcm := make([]int16, (len(b)-44)/2)
		for i := range pcm {
			pcm[i] = int16(binary.LittleEndian.Uint16(b[44+2*i:]))
		}
		pcm = append(pcm, make([]int16, 8000)...)
		fmt.Println("==", f, float64(len(pcm))/16000)
		text := ""
		s, err := e.Open(context.Background(), worker.StreamConfig{}, func(r worker.Result) {
			if r.Final {
				text += r.Text + " "
			}
			if os.Getenv("V") != "" || r.Final {
				fmt.Println(r.Final, r.Start, r.End, r.Text, r.Confidence)
			}
			if os.Getenv("V") != "" {
				for _, w := range r.Words {
					fmt.Println("    ", w)
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		t0 := time.Now()
		for p := pcm; len(p) > 0; p = p[min(960, len(p)):] {
			if err := s.Write(context.Background(), worker.Audio{PCM: p[:min(960, len(p))]}); err != nil {
				t.Fatal(err)
			}
		}
		s.Flush(context.Background())
		fmt.Println("rtf", time.Since(t0).Seconds()/(float64(len(pcm))/16000))
		s.Close()
		ref, _ := os.ReadFile(f[:len(f)-4] + ".txt")
		fmt.Println("WER", werRate(string(ref), text))
	}
}
