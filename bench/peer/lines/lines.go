// Package lines is how a program of the benchmarks is asked to do something and says how long it took: a line of words
// separated by tabs on standard input, a line on standard output.
//
//	bind<TAB>/source<TAB>/target    ->    ok<TAB>23141           nanoseconds; several where it is measured several times
//	                                      error<TAB>why
//
// It ends with its input. bench/lines.ts is the other side, bench/limit/limit.c another program that speaks it.
package lines

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"time"
)

// Act does what it is asked with the words after the first, and measures itself, so that it can leave preparations out.
type Act func(args []string) ([]time.Duration, error)

// Serve answers until the input ends.
func Serve(acts map[string]Act) {
	input := bufio.NewReader(os.Stdin)
	for {
		line, err := input.ReadString('\n')
		if err != nil {
			return
		}
		words := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		fmt.Println(answer(acts, words))
	}
}

func answer(acts map[string]Act, words []string) string {
	act, known := acts[words[0]]
	if !known {
		return "error\tno such act: " + words[0]
	}
	times, err := act(words[1:])
	if err != nil {
		return "error\t" + strings.ReplaceAll(err.Error(), "\n", " ")
	}
	reply := "ok"
	for _, took := range times {
		reply += fmt.Sprintf("\t%d", took.Nanoseconds())
	}
	return reply
}

// Timed is for an act that is measured from its beginning to its end.
func Timed(act func(args []string) error) Act {
	return func(args []string) ([]time.Duration, error) {
		begun := time.Now()
		err := act(args)
		return []time.Duration{time.Since(begun)}, err
	}
}
