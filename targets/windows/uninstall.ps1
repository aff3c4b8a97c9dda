<#
.SYNOPSIS
Removes the service, the firewall rule, the program and its PATH entry.

.DESCRIPTION
Run it in an elevated PowerShell. The state (paired devices, token, log) in %ProgramData%\gatelet is
kept for a later install.ps1, unless -RemoveState is given.
#>
[CmdletBinding()]
param([switch] $RemoveState)
Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'

$service = 'gatelet'
$folder = Join-Path $env:ProgramFiles 'gatelet'
$program = Join-Path $folder 'gatelet.exe'
$state = Join-Path $env:ProgramData 'gatelet'

function Main {
    $me = New-Object Security.Principal.WindowsPrincipal([Security.Principal.WindowsIdentity]::GetCurrent())
    if (-not $me.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
        throw 'This needs an elevated PowerShell: right-click Start, choose Terminal (Admin), and run the script there.'
    }
    Remove-ServiceEntry
    Get-NetFirewallRule -Name $service -ErrorAction SilentlyContinue | Remove-NetFirewallRule
    Remove-Program
    Remove-FromPath
    if ($RemoveState) {
        if (Test-Path -LiteralPath $state) { Remove-Item -LiteralPath $state -Recurse -Force }
        Write-Host 'gatelet and its state are removed.'
    } else {
        Write-Host "gatelet is removed; its state is kept in $state (uninstall.ps1 -RemoveState removes it)."
    }
}

function Remove-ServiceEntry {
    if (-not (Get-Service -Name $service -ErrorAction SilentlyContinue)) { return }
    Stop-Service -Name $service -Force
    $output = & sc.exe delete $service
    if ($LASTEXITCODE -ne 0) { throw "cannot delete the service ${service}, code ${LASTEXITCODE}: $output" }
    foreach ($try in 1..20) {
        if (-not (Get-Service -Name $service -ErrorAction SilentlyContinue)) { return }
        Start-Sleep -Milliseconds 500
    }
    Write-Warning 'The service is removed when the last window that shows it (Services, Task Manager) is closed.'
}

function Remove-Program {
    # the process ends shortly after the service reports that it stopped
    foreach ($try in 1..20) {
        if (-not (Test-Path -LiteralPath $program)) { break }
        try {
            Remove-Item -LiteralPath $program -Force
        } catch {
            if ($try -eq 20) { throw "cannot remove ${program}: $($_.Exception.Message). Is it running in a terminal? Stop it and run this again." }
            Start-Sleep -Milliseconds 500
        }
    }
    # files that the installer did not put there are kept
    if ((Test-Path -LiteralPath $folder) -and -not (Get-ChildItem -LiteralPath $folder -Force)) { Remove-Item -LiteralPath $folder }
}

# Edits the registry, because SetEnvironmentVariable would expand each %SystemRoot% in the list.
function Remove-FromPath {
    $key = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey('SYSTEM\CurrentControlSet\Control\Session Manager\Environment', $true)
    try {
        $entries = @("$($key.GetValue('Path', '', 'DoNotExpandEnvironmentNames'))" -split ';' | Where-Object { $_ })
        if ($entries -notcontains $folder) { return }
        $key.SetValue('Path', (@($entries | Where-Object { $_ -ne $folder }) -join ';'), 'ExpandString')
    } finally {
        $key.Close()
    }
    # removing a variable that does not exist notifies other programs of the changed environment
    [Environment]::SetEnvironmentVariable('gatelet-installed', $null, 'Machine')
}

Main
