package main

import (
	"context"
	"net/http"
	"time"

	"stenobus/cmd/stenobus/internal/ops"
	"stenobus/gateway"
)

type gatewayCmd struct {
	Listen string `help:"Where clients connect; port 0 takes any free one." placeholder:"HOST:PORT" default:"127.0.0.1:8080"`
	audioLogFlag
	doorFlags
	gatewayFlags
	Bus busFlags `embed:"" prefix:"bus-"`
	natsFlags
	cellFlag
}

// audioLogFlag has one name in gateway, up and bench: it is about the whole deployment.
type audioLogFlag struct {
	AudioLog bool `help:"Keep what was sent to workers in a stream for a few minutes, so that a gateway and its worker may die together and nothing is lost. Gateways started without it switch it off again." group:"Gateway"`
}

func (f audioLogFlag) apply(cfg gateway.Config) gateway.Config {
	cfg.AudioLog = f.AudioLog
	return cfg
}

// gatewayFlags are gateway.Config, but for the audio log.
type gatewayFlags struct {
	Name           string        `help:"Name in records and logs; random by default." group:"Gateway"`
	Window         time.Duration `help:"Most audio that a session keeps for sending again." default:"60s" group:"Gateway"`
	WindowBytes    int           `help:"The same in bytes, 192 more for each frame." default:"25165824" group:"Gateway"`
	Share          time.Duration `help:"How long a frame waits for others to share its message." default:"0s" group:"Gateway"`
	Grace          time.Duration `help:"How long a session outlives its client's broken connection." default:"15s" group:"Gateway"`
	ClaimWait      time.Duration `help:"How long a session waits for a worker with room." default:"60s" group:"Gateway"`
	EndWait        time.Duration `help:"How long an ending session waits for its last finals." default:"60s" group:"Gateway"`
	DrainWait      time.Duration `name:"drain-timeout" help:"How long a stopping gateway waits for its sessions; their clients are told to move one after another." default:"15s" group:"Gateway"`
	IdleWait       time.Duration `name:"idle-timeout" help:"How long a client may send no message at all." default:"10m" group:"Gateway"`
	MaxLength      time.Duration `help:"How long a session may go on at one gateway." default:"24h" group:"Gateway"`
	MaxSpeed       float64       `help:"How many times faster than real time audio may come in the long run." default:"20" group:"Gateway"`
	ConnectRate    float64       `help:"Connections a second that one address may ask for, twice as many at once." default:"1000" group:"Gateway"`
	MaxPrincipal   int           `name:"max-principal-sessions" help:"Most sessions of one authenticated client on this gateway, unless its key or token says otherwise." default:"1000" group:"Gateway"`
	MaxMessage     int64         `help:"Largest message of a client in bytes." default:"1048576" group:"Gateway"`
	MaxSources     int           `help:"Most sources of one session." default:"256" group:"Gateway"`
	MaxLifeSources int           `help:"Most sources of one session in its whole life." default:"1024" group:"Gateway"`
	MaxSessions    int           `help:"Most sessions of this gateway." default:"10000" group:"Gateway"`
	SendBuffer     int           `help:"Most bytes waiting for a slow client." default:"1048576" group:"Gateway"`
	Origins        []string      `help:"Hosts of web pages that may connect, with * as a wildcard; by default only the gateway's own. Programs send no origin and always may." placeholder:"HOST" group:"Gateway"`
	Principal      string        `name:"principal-header" help:"Header in which a proxy in front that authenticates clients says who they are; then an id alone resumes no session. Only that proxy may reach the gateway then." placeholder:"NAME" group:"Gateway"`
	Engines        []string      `help:"Engines that clients may choose by name." default:"${engineList}" placeholder:"NAME" group:"Gateway"`
}

func (f *gatewayFlags) config(w wiring) gateway.Config {
	return gateway.Config{
		Name:    f.Name,
		Cell:    w.cell,
		Log:     w.log.With("role", "gateway"),
		Metrics: w.metrics,
		Bus:     w.bus,
		Version: version,

		Window:      f.Window,
		WindowBytes: f.WindowBytes,
		Share:       f.Share,
		Grace:       f.Grace,
		ClaimWait:   f.ClaimWait,
		EndWait:     f.EndWait,
		DrainWait:   f.DrainWait,
		IdleWait:    f.IdleWait,
		MaxLength:   f.MaxLength,
		MaxSpeed:    f.MaxSpeed,
		ConnectRate: f.ConnectRate,

		MaxPrincipal:   f.MaxPrincipal,
		MaxMessage:     f.MaxMessage,
		MaxSources:     f.MaxSources,
		MaxLifeSources: f.MaxLifeSources,
		MaxSessions:    f.MaxSessions,
		SendBuffer:     f.SendBuffer,
		Engines:        f.Engines,
		Origins:        f.Origins,

		PrincipalHeader: f.Principal,
	}
}

func (*gatewayCmd) Help() string {
	return `Clients connect to /transcribe. From other machines they may only where they show a key or a token, or come through a proxy that knows them. Operators read /healthz, /readyz, /status and /metrics on the same port.

Examples:

    stenobus gateway
    stenobus gateway --listen 0.0.0.0:8443 --auth-keys keys --tls-cert cert.pem --tls-key key.pem --nats nats://nats-1:4222
    stenobus gateway --jwks-url https://login.example.com/keys --jwt-audience stt --listen 0.0.0.0:8080
    STENOBUS_NATS_USER_FILE=/run/secrets/nats stenobus gateway --share 60ms --log-format json
`
}

func (c *gatewayCmd) Run(p *program) error {
	l, err := listen("--listen", c.Listen)
	if err != nil {
		return err
	}
	defer l.Close()
	reg := ops.NewRegistry()
	d, err := c.open(l, c.Principal != "", "--principal-header", reg, p.log)
	if err != nil {
		return err
	}
	conn, err := c.dial(p, "gateway")
	if err != nil {
		return err
	}
	cfg := c.apply(c.config(wiring{p.log, reg, c.Bus.config(), c.Cell}))
	cfg.Auth = d.auth
	r, clients, err := newGateway(conn, cfg, d.ready)
	if err != nil {
		conn.close()
		return err
	}
	return runRole(p, r, d, r.pages(reg, clients))
}

// newGateway makes one that is ready while also its door is, of which it says nothing if
// it is nil.
func newGateway(conn *busConn, cfg gateway.Config, door func(context.Context) error) (*role, http.Handler, error) {
	g, err := gateway.New(conn.Conn, cfg)
	if err != nil {
		return nil, nil, usageError("%w", err)
	}
	healthy := g.Ready
	if door != nil {
		healthy = func(ctx context.Context) error {
			if err := door(ctx); err != nil {
				return err
			}
			return g.Ready(ctx)
		}
	}
	return &role{
		name: "gateway", conn: conn, serve: g.Run, healthy: healthy,
		stats: func() any { return g.Stats() },
		crowd: func() (open, streaming int) { s := g.Stats(); return s.Active + s.Detached, s.Streaming },
	}, g, nil
}
