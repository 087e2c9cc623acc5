#!/bin/bash
# A job a λ, as one array of SLURM, without a process that waits for them:
#   sbatch --array=0-3 --ntasks-per-node=2 --gpus-per-node=2 sweeps/slurm/lambdas.sh "0.0018 0.0035 0.0067 0.013" data=folder …
#SBATCH --job-name=codec
#SBATCH --requeue
#SBATCH --time=1-00:00
#SBATCH --signal=USR1@120
#SBATCH --open-mode=append
#SBATCH --output=codec_%A_%a.out
set -eu
read -ra lambdas <<< "$1"
export CODEC_POINT="[$((SLURM_ARRAY_TASK_ID + 1))/${#lambdas[@]}] λ=${lambdas[$SLURM_ARRAY_TASK_ID]}"  # before each line
srun codec train trainer=slurm "model.lmbda=${lambdas[$SLURM_ARRAY_TASK_ID]}" "${@:2}"
