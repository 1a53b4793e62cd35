// What runs in the lab's pods: the pause container, a server that says who it is, and the client that asks it.
//
//	podtool                     waits to be ended and reaps, as the pause container must
//	podtool serve :8080         answers HTTP with `HOST node=$NODE local=ADDRESS remote=ADDRESS`, and echoes UDP
//	podtool get URL             prints the body; status 1 when there is none within three seconds
//	podtool lookup NAME         prints the addresses that DNS gives
//	podtool stream ADDRESS 50ms writes and reads one octet on one connection until it breaks: status 1 then
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const patience = 3 * time.Second

func main() {
	words := append(os.Args[1:], "", "", "")
	var err error
	switch words[0] {
	case "serve":
		err = serve(words[1])
	case "get":
		err = get(words[1])
	case "lookup":
		err = lookup(words[1])
	case "stream":
		err = stream(words[1], words[2])
	default:
		pause()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func pause() {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		for {
			// One signal may stand for several children.
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}

func serve(address string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	go func() {
		buffer := make([]byte, 65536)
		for {
			n, from, err := packets.ReadFrom(buffer)
			if err == nil {
				_, err = packets.WriteTo(buffer[:n], from)
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
		}
	}()
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		local := r.Context().Value(http.LocalAddrContextKey)
		fmt.Fprintf(w, "%s node=%s local=%v remote=%s\n", host, os.Getenv("NODE"), local, r.RemoteAddr)
	})
	// Echoes the body as it comes, on one connection for as long as the client likes.
	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if err := control.EnableFullDuplex(); err != nil {
			return
		}
		buffer := make([]byte, 4096)
		for {
			n, err := r.Body.Read(buffer)
			if n > 0 {
				if _, err := w.Write(buffer[:n]); err != nil || control.Flush() != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	return http.ListenAndServe(address, nil)
}

func get(url string) error {
	client := http.Client{Timeout: patience}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}

func lookup(name string) error {
	context, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(context, name)
	for _, address := range addresses {
		fmt.Println(address)
	}
	return err
}

// stream prints how many octets came back, once a second, and says what broke it.
func stream(address, pause string) error {
	period, err := time.ParseDuration(pause)
	if err != nil {
		return err
	}
	reader, writer := io.Pipe()
	request, err := http.NewRequest("POST", "http://"+address+"/echo", reader)
	if err != nil {
		return err
	}
	// The answer begins with the first octet.
	go writer.Write([]byte{'.'})
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return err
	}
	octet := make([]byte, 1)
	longest, sent, said := time.Duration(0), time.Now(), time.Now()
	for count := 1; ; count++ {
		_, err := io.ReadFull(response.Body, octet)
		longest = max(longest, time.Since(sent))
		if err == nil {
			time.Sleep(period)
			sent = time.Now()
			_, err = writer.Write(octet)
		}
		if err != nil {
			return fmt.Errorf("broken after %d octets, longest wait %v: %w", count, longest, err)
		}
		if time.Since(said) >= time.Second {
			said = time.Now()
			fmt.Printf("octets=%d longest=%v\n", count, longest)
		}
	}
}
