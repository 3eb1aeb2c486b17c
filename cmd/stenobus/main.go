// Stenobus is a message-bus front door for live speech-to-text. This program is all of
// it: every role of the bus, the tools around them, and one command that runs the lot.
package main

import (
	"context"
	"os"
)

func main() {
	ctx, stop := withSignals(context.Background())
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
