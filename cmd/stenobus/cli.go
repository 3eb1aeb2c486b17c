package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// cli is the whole command line. Every flag is also an environment variable,
// STENOBUS_ and its name, which its help shows.
type cli struct {
	logFlags

	Up         upCmd         `cmd:"" help:"Run everything in one process: bus, dispatcher, worker and gateway."`
	Gateway    gatewayCmd    `cmd:"" help:"Run a gateway: clients send their audio here."`
	Dispatcher dispatcherCmd `cmd:"" help:"Run a dispatcher: it places sessions on workers."`
	Worker     workerCmd     `cmd:"" help:"Run a worker: it turns speech into text."`
	Bus        busCmd        `cmd:"" help:"Run the NATS server as a process of its own, alone or in a cluster."`
	Keys       keysCmd       `cmd:"" help:"Make, list and remove the API keys of a gateway's clients."`
	Send       sendCmd       `cmd:"" help:"Send audio files to a gateway and print what was said."`
	Demo       demoCmd       `cmd:"" help:"Show it all at work on the shipped speech samples."`
	Bench      benchCmd      `cmd:"" help:"Measure what it costs beside a bare pipe, and how sessions are placed."`
	Lab        labCmd        `cmd:"" help:"Break a deployment under load and prove that nothing was lost."`
	BenchPipe  benchPipeCmd  `cmd:"" hidden:"" help:"The bare pipe that bench measures by."`
	Explain    explainCmd    `cmd:"" help:"Tell a session's story: its workers, why it moved, what was refused."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
}

// program is what a command gets from its surroundings.
type program struct {
	ctx            context.Context // ends with the first Ctrl-C
	stdout, stderr io.Writer
	log            *slog.Logger
}

// run is the program: it parses args, runs the command and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := execute(ctx, args, stdout, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "stenobus: %v\n", err)
	}
	return exitCode(err)
}

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c cli
	helped := false
	parser, err := kong.New(&c,
		kong.Name("stenobus"),
		kong.Description("A message-bus front door for live speech-to-text.\n\n"+exitCodesHelp),
		kong.DefaultEnvars("STENOBUS"),
		kong.Vars(vars()),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 100}),
	)
	if err != nil {
		return fmt.Errorf("command line: %w", err)
	}
	if len(args) > 0 && args[0] == "help" { // as people type it: help, help up
		args = append(slices.Clone(args[1:]), "--help")
	}
	parsed, err := parser.Parse(args)
	if helped {
		return nil
	}
	if err != nil {
		return usageError("%w\nTry: stenobus%s --help", err, commandOf(err))
	}
	level := slog.LevelInfo
	if name := parsed.Selected().Name; name == "demo" || name == "explain" {
		level = slog.LevelWarn // what it shows is its own
	}
	log, err := c.logger(stderr, level)
	if err != nil {
		return err
	}
	return parsed.Run(&program{ctx: ctx, stdout: stdout, stderr: stderr, log: log})
}

// commandOf tells which command a wrong command line was meant for, with a space before it.
func commandOf(err error) string {
	var p *kong.ParseError
	if !errors.As(err, &p) || p.Context == nil || p.Context.Selected() == nil {
		return ""
	}
	return " " + p.Context.Selected().Path()
}

// vars are what the help texts of flags refer to.
func vars() kong.Vars {
	return kong.Vars{
		"data":       defaultDataDir(),
		"engines":    strings.Join(engineNames, ", "),
		"engineList": strings.Join(engineNames, ","),
	}
}
